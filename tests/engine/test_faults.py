"""What happens when workers hang, die or spoil a batch, when nodes go, and how GPUs are shared: on a real Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from engine_runs import count, execute, pipeline, whole

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def test_tokens_never_exceed_a_gpu(tmp_path: Path) -> None:
    pipe = pipeline(tmp_path, gpu=True, prior__mode="busy", prior__segment=-1)
    videos, events, _ = execute(pipe, ("a", "b"), frames=200, gpus=2)
    assert all(whole(video, 200) for video in videos)
    done = [e for e in events if e["event"] == "stage_done" and e["slot"] in ("prior", "geometry")]
    spans = [(e["began"], e["began"] + e["seconds"]) for e in done]
    running = most = 0.0
    for _, change in sorted([(t, 0.5) for t, _ in spans] + [(t, -0.5) for _, t in spans]):
        running += change
        most = max(most, running)
    assert 1.0 < most <= 2.0 + 1e-6, f"{most} GPUs' worth of calls ran at once on 2"
    assert count(events, "actor_ready", "prior") >= 2


def test_tiny_calls_go_together(tmp_path: Path) -> None:
    videos, events, _ = execute(pipeline(tmp_path, cut=(2, 0)), frames=1200)
    assert whole(videos[0], 1200)
    done = [e for e in events if e["event"] == "stage_done"]
    assert len(done) == 3 * 600
    assert max(e.get("together", 1) for e in done) > 8, "nothing was coalesced"


def test_a_poison_item_is_split_from_its_batch(tmp_path: Path) -> None:
    pipe = pipeline(tmp_path, cut=(2, 0), prior__mode="raise-once", prior__segment=300)
    videos, events, _ = execute(pipe, frames=1200)
    assert whole(videos[0], 1200)
    failed = [e for e in events if e["event"] == "stage_failed"]
    assert [e["index"] for e in failed] == [300] and failed[0]["verdict"] == "retry"


def test_a_hung_call_is_ended_and_done_again(tmp_path: Path) -> None:
    pipe = pipeline(tmp_path, prior__mode="hang-once", prior__segment=9)
    videos, events, _ = execute(pipe, frames=200, least_deadline=3.0)
    assert whole(videos[0], 200)
    assert count(events, "actor_hung", "prior") == 1
    assert count(events, "actor_died", "prior") == 1
    (failed,) = [e for e in events if e["event"] == "stage_failed" and e["index"] == 9]
    assert failed["message"].startswith("it hung: no answer for ")


def test_a_finish_that_hangs_once_is_ended_and_done_again(tmp_path: Path) -> None:
    videos, events, _ = execute(pipeline(tmp_path, stitch__finish="hang-once"), ("a", "b"), least_deadline=3.0)
    assert all(whole(video) for video in videos)
    assert count(events, "actor_hung", "stitch") == count(events, "actor_died", "stitch") == 1
    assert [e["kind"] for e in events if e["event"] == "finish_failed"] == ["died"]


def test_a_finish_that_always_hangs_fails_its_own_video(tmp_path: Path) -> None:
    pipe = pipeline(tmp_path, stitch__finish="hang", stitch__finish_video="a")
    videos, events, _ = execute(pipe, ("a", "b"), frames=200, least_deadline=2.0, max_attempts=2)
    assert [video.status for video in videos] == ["failed", "complete"] and whole(videos[1], 200)
    assert "stitch failed to finish it: it hung: no answer for " in videos[0].reason
    assert count(events, "actor_hung", "stitch") == 2
    assert not [e for e in events if e["event"] == "stage_failed" and e["video"] == "b" and e["verdict"] == "fail"]


def test_a_finish_that_raises_fails_its_video_with_the_reason(tmp_path: Path) -> None:
    videos, _, _ = execute(pipeline(tmp_path, stitch__finish="raise", stitch__finish_video="a"), ("a", "b"))
    assert [video.status for video in videos] == ["failed", "complete"]
    assert videos[0].reason == "stitch failed to finish it: RuntimeError: the last page is missing"


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["go", "build"])
def test_nodes_may_join_and_leave_and_be_unlike_each_other(tmp_path: Path, scenario: str) -> None:
    """A node that joins gets work, what another takes with it is computed again; not each need build every stage."""
    command = [
        sys.executable,
        str(Path(__file__).parents[1] / "support" / "changing_cluster.py"),
        str(tmp_path),
        scenario,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
