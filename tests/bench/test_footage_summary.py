"""Before and after in one table, its extremes, and the clips whose store is untrue."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from geoflow.bench.footage.footage_summary import read_baseline, render_summary, untrue
from geoflow.errors import ConfigError


def row(clip, posed=1.0, ate=1.0, abs_rel=0.05, reversed_frames=0.0, spearman=0.97, cpu=0.4):
    return {
        "clip": clip,
        "status": "complete",
        "cpu_seconds_per_frame": {"driver": 0.1, "camera": cpu - 0.1},
        "scores": {
            "poses": {"frames_posed": posed, "ate_percent": ate},
            "camera": {"abs_rel": abs_rel, "reversed_frames": reversed_frames, "spearman": spearman},
        },
    }


def failed(clip):
    return {"clip": clip, "status": "failed", "reason": "torn"}


def bench(*rows, **more):
    return {"pipeline": "embedded", "cpus": 2, "frames": None, "clips": list(rows), **more}


def lines(found, before=None):
    """The lines of the rendered summary, each as its words."""
    console = Console(width=250, file=io.StringIO())
    console.print(render_summary(found, before))
    return [line.split() for line in console.file.getvalue().splitlines() if line.strip()]


def test_without_a_baseline_median_and_worst_clip_stand_below():
    shown = lines(bench(row("a", ate=0.5), row("b", ate=2.5, abs_rel=0.1), row("c", ate=1.0, spearman=0.2, posed=0.5)))
    assert shown[0] == ["clip", "posed", "%", "ATE", "%", "AbsRel", "order", "reversed", "%", "CPU", "s"]
    assert ["a", "100", "0.50", "0.050", "0.97", "0", "0.40"] in shown
    assert ["median", "100", "1.00", "0.050", "0.97", "0"] in shown
    assert ["worst", "50", "2.50", "0.100", "0.20", "0"] in shown
    assert ["worst", "clip", "c", "b", "b", "c", "a"] in shown
    assert not any("reversed" in line and "ATE" not in line for line in shown[1:])


def test_before_and_after_stand_side_by_side_and_extremes_are_over_what_both_have():
    before = bench(row("a", ate=8.0, abs_rel=0.3, reversed_frames=1.0, cpu=0.5), row("b", ate=3.0), failed("c"), cpus=4)
    after = bench(row("a", ate=1.0), row("b", ate=2.0), row("c", ate=90.0), row("d", ate=70.0))
    shown = lines(after, before)
    a = next(line for line in shown if line[0] == "a")
    assert a[1:10] == ["100", "→", "100", "8.00", "→", "1.00", "0.300", "→", "0.050"] and a[-3:] == [
        "0.50",
        "→",
        "0.40",
    ]
    c = next(line for line in shown if line[0] == "c")
    assert c[4:7] == ["—", "→", "90.00"]
    median, worst = (next(line for line in shown if line[0] == name) for name in ("median", "worst"))
    assert median[4:7] == ["5.50", "→", "1.50"] and worst[4:7] == ["8.00", "→", "2.00"]
    notes = [" ".join(line) for line in shown if line[:1] == ["note:"]]
    assert notes == ["note: cpus was 4 and is 2", "note: not in the baseline: d", "note: failed in the baseline: c"]


def test_a_store_far_from_the_truth_that_claims_poses_is_named():
    rows = [
        row("right"),
        row("inside_out", ate=9.1, abs_rel=0.31, reversed_frames=0.71),
        row("off", ate=3.01),
        row("at_the_limit", ate=3.0, abs_rel=0.15),
        row("refused", posed=0.0, ate=None, abs_rel=0.4),
        row("unknown", ate=None, abs_rel=None, reversed_frames=None, spearman=None),
        failed("torn"),
    ]
    assert untrue(rows) == [
        "inside_out: 100% of the frames claim valid poses, AbsRel 0.310, ATE 9.10 %, reversed frames 71 %",
        "off: 100% of the frames claim valid poses, ATE 3.01 %",
    ]
    words = [" ".join(line) for line in lines(bench(*rows))]
    assert words[-2:] == untrue(rows) and "AbsRel above 0.15, ATE above 3 %" in words[-3]


def test_a_baseline_that_is_none_is_refused(tmp_path):
    path = tmp_path / "footage.json"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_baseline(path)
    for wrong in ("{", "[]", '{"clips": [1]}', "{}"):
        path.write_text(wrong)
        with pytest.raises(ConfigError, match=r"footage\.json"):
            read_baseline(path)
    path.write_text(json.dumps(bench(row("a"))))
    assert read_baseline(path)["clips"][0]["clip"] == "a"


def test_a_baseline_older_than_the_order_of_depth_has_dashes():
    old = row("a")
    del old["scores"]["camera"]["spearman"], old["scores"]["camera"]["reversed_frames"]
    a = next(line for line in lines(bench(row("a")), bench(old)) if line[0] == "a")
    assert a[10:13] == ["—", "→", "0.97"]
