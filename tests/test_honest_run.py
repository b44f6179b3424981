"""Runs with little or no result: their store, index, console, status and report say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import geoflow
from geoflow.cli.output import end
from geoflow.observe.status import read_status
from geoflow.pipeline import Pipeline
from geoflow.report import write_report
from geoflow.results import RunResult
from geoflow.store.paths import RunPaths
from geoflow.store.verify import verify_run
from geoflow.synth import render_clip

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    render_clip(folder / "a.mp4", folder / "a.gt.h5", num_frames=20, width=64, height=48)
    return folder / "a.mp4"


def run(
    clip: Path, out: Path, mode: str = "", *, hands: bool = False, optional: bool = False, stubborn: str = ""
) -> tuple[RunResult, str]:
    """A run whose prior does as `mode` says, and what its console showed."""
    rows: list[dict[str, Any]] = [
        {"slot": "decode", "backend": "geoflow.stages.decode"},
        {
            "slot": "prior",
            "backend": "engine_stages:Prior",
            "params": {"mode": mode, "segment": -1, "stubborn": stubborn},
        },
        {"slot": "stitch", "backend": "geoflow.stages.stitch"},
        {"slot": "write", "backend": "geoflow.stages.write"},
    ]
    rows[1]["optional"] = optional
    if hands:
        rows.insert(2, {"slot": "hands", "backend": "engine_stages:Hands", "optional": True})
    stages = [row | {"num_cpus": 0.5} for row in rows]
    pipe = Pipeline.from_dict({"name": "p", "segment": {"size": 8, "overlap": 2}, "stages": stages})
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    result = geoflow.run(clip, out, pipe, console=console)
    return result, console.export_text()


def test_a_stage_that_finds_nothing_is_noted_everywhere(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, shown = run(clip, tmp_path, "blind", hands=True)
    (video,) = result.videos
    assert result.exit_status == 0 and video.status == "complete"
    assert video.recovered.startswith("nothing recovered: no depth; the prior found nothing; hands not computed: it")
    assert video.lacking == "depth, hands (not computed)"
    assert video.recovered in shown
    done = geoflow.load_run(tmp_path)
    assert done.index[0]["recovered"] == video.recovered and done.index[0]["lacking"] == video.lacking
    for row in done.segments:
        without, nothing = json.loads(row["notes"])
        assert without.startswith("without hands: it could not run: ") and "libhands" in without
        assert nothing == "nothing found by prior"
    (entry,) = read_status(tmp_path)["videos"]
    assert entry["recovered"] == video.recovered
    assert video.recovered in Path(write_report(tmp_path)).read_text()
    assert verify_run(tmp_path) == []
    with pytest.raises(BaseException) as ended:
        end(result, result.to_dict(), as_json=False)
    assert ended.value.exit_code == 0 and f"a: {video.recovered}" in capsys.readouterr().out
    assert json.loads(json.dumps(result.to_dict()))["videos"][0]["recovered"] == video.recovered


@pytest.mark.parametrize(
    ("mode", "said"),
    [("nan", "prior.points should be finite where prior.mask is True"), ("overflow", "infinite values (float16 ends")],
)
def test_values_that_cannot_be_cost_the_video(clip: Path, tmp_path: Path, mode: str, said: str) -> None:
    result, _ = run(clip, tmp_path, stubborn=mode)
    (video,) = result.failed
    assert result.exit_status == 3 and said in video.reason and "prior failed on a[0:8]" in video.reason


def test_a_video_that_only_cheaper_settings_can_do_says_so(clip: Path, tmp_path: Path) -> None:
    result, shown = run(clip, tmp_path, "nan")
    (video,) = result.complete
    assert "a is tried again at the end, with cheaper settings" in shown
    assert "prior with cheaper settings" in video.recovered and video.recovered in shown
    assert geoflow.load_run(tmp_path).index[0]["recovered"] == video.recovered


def test_values_that_cannot_be_of_an_optional_stage_are_left_out_and_noted(clip: Path, tmp_path: Path) -> None:
    result, _ = run(clip, tmp_path, "nan", optional=True)
    (video,) = result.complete
    assert "prior not computed: " in video.recovered and "should be finite" in video.recovered
    assert video.lacking == "prior (not computed)"
    assert not RunPaths(tmp_path).work.exists()


def test_a_video_from_an_earlier_run_still_says_it(clip: Path, tmp_path: Path) -> None:
    first, _ = run(clip, tmp_path, "blind")
    RunPaths(tmp_path).index.unlink()  # killed before it was written
    second, shown = run(clip, tmp_path, "blind")
    (video,) = second.videos
    assert video.reused and video.recovered == first.videos[0].recovered and video.recovered in shown
    assert geoflow.load_run(tmp_path).index[0]["lacking"] == "depth"
