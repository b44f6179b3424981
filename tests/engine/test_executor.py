"""The executor on a real local Ray: every input ends in one state, whatever a stage does."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_runs import count, execute, pipeline, whole

from geoflow.errors import EnvironmentBroken

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def test_every_frame_passes_once_and_in_order(tmp_path: Path) -> None:
    videos, events, _ = execute(pipeline(tmp_path), ("a", "b", "c"))
    assert [v.status for v in videos] == ["complete"] * 3
    assert all(whole(v) for v in videos)
    assert count(events, "stage_done") == 3 * 3 * videos[0].num_segments  # videos, stages, segments


def test_pools_may_book_every_cpu(tmp_path: Path) -> None:
    videos, _, _ = execute(pipeline(tmp_path, decode__num_cpus=1, prior__num_cpus=1, stitch__num_cpus=2))
    assert videos[0].status == "complete"


def test_a_corrupt_input_costs_only_itself(tmp_path: Path) -> None:
    videos, _, _ = execute(pipeline(tmp_path), ("a", "corrupt", "b"))
    assert [v.status for v in videos] == ["complete", "failed", "complete"]
    assert videos[1].reason == "/videos/corrupt.mp4 is not a video; re-encode it"


@pytest.mark.parametrize("mode", ["raise-once", "die-once"])
def test_what_goes_wrong_once_is_tried_again(tmp_path: Path, mode: str) -> None:
    videos, events, _ = execute(pipeline(tmp_path, prior__mode=mode), ("a", "b"))
    assert [v.status for v in videos] == ["complete", "complete"]
    assert all(whole(v) for v in videos)
    assert [e["verdict"] for e in events if e["event"] == "stage_failed"].count("retry") >= 1


def test_an_ordered_stage_goes_on_after_its_actor_died(tmp_path: Path) -> None:
    videos, events, _ = execute(pipeline(tmp_path, stitch__die_at=2))
    assert videos[0].status == "complete"
    assert whole(videos[0])
    assert count(events, "actor_died", "stitch") == 1


def test_what_always_fails_is_quarantined_with_its_reason(tmp_path: Path) -> None:
    videos, events, _ = execute(pipeline(tmp_path, prior__stubborn="raise", prior__video="b"), ("a", "b", "c"))
    assert [v.status for v in videos] == ["complete", "failed", "complete"]
    assert "prior failed on b[" in videos[1].reason
    assert "the model does not like this one" in videos[1].reason
    assert videos[1].reason.endswith("; tried again when nothing else was left, with cheaper settings, too")
    failed = [e for e in events if e["event"] == "stage_failed"]
    assert [e["verdict"] for e in failed] == ["retry", "retry", "later", "retry", "retry", "fail"]
    assert "engine_stages.py" in failed[-1]["traceback"]


@pytest.mark.parametrize("mode", ["raise", "die"])
def test_a_video_that_failed_is_tried_at_the_end_with_cheaper_settings(tmp_path: Path, mode: str) -> None:
    videos, events, _ = execute(pipeline(tmp_path, prior__mode=mode, prior__video="b"), ("a", "b", "c"))
    assert all(whole(video) for video in videos)
    told = [(e["event"], e["video"]) for e in events if e["event"] in ("video_postponed", "video_complete")]
    assert told.count(("video_postponed", "b")) == 1 and told[-1] == ("video_complete", "b")
    assert [level["prior"] for level in videos[1].result["ladder"]] == [1] * videos[1].num_segments
    assert videos[0].result["ladder"] == videos[2].result["ladder"] == [{}] * videos[0].num_segments
    last_others = max(i for i, e in enumerate(events) if e["event"] == "segment_complete" and e["video"] != "b")
    (postponed,) = [i for i, e in enumerate(events) if e["event"] == "video_postponed"]
    again = [i for i, e in enumerate(events) if i > postponed and e["event"] == "stage_done" and e["video"] == "b"]
    assert min(again) > last_others, "it came back before the others were done"


def test_with_fail_fast_no_video_comes_back(tmp_path: Path) -> None:
    pipe = pipeline(tmp_path, prior__mode="raise", prior__video="b")
    videos, events, _ = execute(pipe, ("a", "b"), fail_fast=True)
    assert videos[1].status == "failed" and count(events, "video_postponed") == 0


def test_bad_input_found_late_is_not_tried_again(tmp_path: Path) -> None:
    videos, events, _ = execute(pipeline(tmp_path, prior__mode="input"))
    assert videos[0].reason == "/videos/a.mp4: frame 7 cannot be decoded; re-encode the file"
    assert len([e for e in events if e["event"] == "stage_failed"]) == 1


def test_output_that_breaks_the_field_table_is_named(tmp_path: Path) -> None:
    videos, _, _ = execute(pipeline(tmp_path, prior__stubborn="wrong-dtype"), max_attempts=1)
    assert "prior.points should be float16, found float32" in videos[0].reason


def test_out_of_memory_walks_down_the_ladder(tmp_path: Path) -> None:
    videos, _, _ = execute(pipeline(tmp_path, prior__mode="memory"))
    assert videos[0].status == "complete"
    assert {"prior": 1} in videos[0].result["ladder"]


def test_an_optional_stage_may_fail_on_a_segment(tmp_path: Path) -> None:
    videos, _, _ = execute(pipeline(tmp_path, mask=True, geometry__fail=True))
    assert videos[0].status == "complete"
    assert videos[0].result["statuses"] == ["incomplete"] + ["complete"] * (videos[0].num_segments - 1)


def test_a_stage_that_cannot_start_ends_the_run_unless_it_is_optional(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentBroken, match=r"stage 'prior' cannot start.*libfancy"):
        execute(pipeline(tmp_path, prior__mode="setup"))


def test_a_tiny_budget_still_finishes(tmp_path: Path) -> None:
    videos, _, _ = execute(pipeline(tmp_path), ("a", "b"), budget_bytes=1)
    assert [v.status for v in videos] == ["complete", "complete"]


def test_fail_fast_leaves_no_input_without_a_state(tmp_path: Path) -> None:
    videos, _, _ = execute(pipeline(tmp_path), ("corrupt", "a", "b"), fail_fast=True)
    assert [v.status for v in videos] == ["failed"] * 3
    assert "another input failed first" in videos[1].reason
