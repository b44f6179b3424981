"""Shares measured from a first call, the ladder, splitting, a GPU to oneself: on a memory that really refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_runs import count, execute, whole
from pretend_gpu import TOTAL, HungryMask, HungryPrior, new_ledger

from geoflow.engine.actor.splitting import can_split, process_in_halves, rungs
from geoflow.engine.gpu.meter import copies_that_fit, memory_share
from geoflow.pipeline import Pipeline
from geoflow.segments import Segment, VideoInfo


@pytest.fixture
def ledger(ray_session: None, tmp_path: Path) -> Path:
    return new_ledger(tmp_path / "gpu.json")


@pytest.fixture
def env(ledger: Path) -> Path:
    path = ledger.parent / "gpu_env.yaml"
    path.write_text(f"env_vars: {{PRETEND_GPU: {ledger}, GEOFLOW_GPU_METER: 'pretend_gpu:PretendMeter'}}\n")
    return path


def pipeline(env: Path, prior: dict[str, Any], mask: dict[str, Any] | None = None, **gpu: Any) -> Pipeline:
    gpu = {"env": str(env), "num_gpus": "auto", "gpu_memory": "auto", "num_cpus": 0.1, **gpu}
    stages: list[dict[str, Any]] = [
        {"slot": "decode", "backend": "engine_stages:Source", "num_cpus": 0.5},
        {"slot": "prior", "backend": "pretend_gpu:HungryPrior", "params": prior, **gpu},
        {"slot": "stitch", "backend": "engine_stages:Sum", "params": {"folder": str(env.parent)}, "num_cpus": 0.5},
    ]
    if mask is not None:
        stages.insert(2, {"slot": "geometry", "backend": "pretend_gpu:HungryMask", "params": mask, **gpu})
    return Pipeline.from_dict({"name": "hungry", "segment": {"size": 12, "overlap": 0}, "stages": stages})


def test_nine_tenths_of_a_gpu_are_filled() -> None:
    assert [copies_that_fit(peak, 80) for peak in (9, 20, 24, 36, 37, 72, 73)] == [8, 3, 3, 2, 1, 1, 0]
    assert memory_share(73, 80) == 1.0


@pytest.mark.ray
def test_after_the_first_call_a_gpu_is_full_and_nothing_is_refused(ledger: Path, env: Path) -> None:
    pipe = pipeline(env, {"peak": 23, "seconds": 0.4})
    videos, events, _ = execute(pipe, ("a", "b"), frames=480, gpus=2)
    assert all(whole(video, 480) for video in videos)
    book = json.loads(ledger.read_text())
    assert book["refused"] == []
    measured = [e for e in events if e["event"] == "gpu_measured"]
    assert [(e["slot"], e["peak"], e["total"]) for e in measured[:1]] == [("prior", 23, TOTAL)]
    # Starting copies until one crashes would get to 80 // 23 = 3.
    assert count(events, "actor_ready", "prior") == 2 * 3
    assert count(events, "actor_died") == 0


@pytest.mark.ray
def test_two_models_share_gpus_without_a_refusal(ledger: Path, env: Path) -> None:
    pipe = pipeline(env, {"peak": 30, "seconds": 0.05}, {"peak": 12, "resident": 4, "seconds": 0.05})
    videos, events, _ = execute(pipe, ("a", "b"), frames=480, gpus=2)
    assert all(whole(video, 480) for video in videos)
    book = json.loads(ledger.read_text())
    assert book["refused"] == []
    assert max(book["together"].values()) >= 3
    assert {e["slot"] for e in events if e["event"] == "gpu_measured"} == {"prior", "geometry"}


PEAKS = {"prior": 8, "camera": 12, "geometry": 17, "unit": 23}  # of four models, GB
COPIES = {"prior": 9, "camera": 6, "geometry": 4, "unit": 3}  # of each alone on a GPU


def chain(env: Path, own: dict[str, dict[str, Any]]) -> Pipeline:
    """decode → four models of different memory → stitch; `own` are the keys of each model's stage."""
    backends = {"prior": "HungryPrior", "camera": "HungryCamera", "geometry": "HungryMask", "unit": "HungryUnit"}
    models = [
        {
            "slot": slot,
            "backend": f"pretend_gpu:{name}",
            "env": str(env),
            "num_cpus": 0.1,
            "params": {"resident": 4, "peak": PEAKS[slot], "seconds": 0.2},
            **own[slot],
        }
        for slot, name in backends.items()
    ]
    ends = [
        {"slot": "decode", "backend": "engine_stages:Source", "num_cpus": 0.2},
        {"slot": "stitch", "backend": "engine_stages:Sum", "params": {"folder": str(env.parent)}, "num_cpus": 0.2},
    ]
    cut = {"size": 12, "overlap": 0}
    return Pipeline.from_dict({"name": "chain", "segment": cut, "stages": [ends[0], *models, ends[1]]})


def pace(events: list[dict[str, Any]]) -> float:
    """Segments per second of the second half of a run: loading and measuring are over."""
    ends = [e["at"] for e in events if e["event"] == "stage_done" and e["slot"] == "stitch"]
    half = len(ends) // 2
    return (len(ends) - half) / (ends[-1] - ends[half - 1])


@pytest.mark.slow
@pytest.mark.ray
def test_four_models_are_packed_by_what_was_measured_and_outdo_one_worker_per_gpu(ledger: Path, env: Path) -> None:
    """The pretended GPU computes calls side by side at no loss, so the ratio of times is the best that packing can do.

    One worker per GPU has the four models loaded and calls one at a time.
    """
    auto = {"num_gpus": "auto", "gpu_memory": "auto"}
    videos, events, _ = execute(chain(env, dict.fromkeys(PEAKS, auto)), ("a", "b"), frames=360, gpus=2)
    assert all(whole(video, 360) for video in videos)
    book = json.loads(ledger.read_text())
    assert book["refused"] == [] and count(events, "actor_died") == 0
    assert {e["slot"]: e["peak"] for e in events if e["event"] == "gpu_measured"} == PEAKS
    assert {slot: copies_that_fit(peak, TOTAL) for slot, peak in PEAKS.items()} == COPIES
    copies = {slot: count(events, "actor_ready", slot) - count(events, "copy_ended", slot) for slot in PEAKS}
    taken = sum(number / COPIES[slot] for slot, number in copies.items())
    assert min(copies.values()) >= 1 and taken <= 2 + 1e-9, f"two GPUs hold {copies}"
    assert max(book["most"].values()) <= TOTAL

    new_ledger(ledger)
    single = {slot: {"num_gpus": 1.0, "gpu_memory": 1 / number, "actors": 2} for slot, number in COPIES.items()}
    one_each, alone, _ = execute(chain(env, single), ("a", "b"), frames=360, gpus=2)
    assert all(whole(video, 360) for video in one_each)
    assert {slot: count(alone, "actor_ready", slot) for slot in PEAKS} == dict.fromkeys(PEAKS, 2)
    ratio = pace(events) / pace(alone)
    print(f"copies {copies}, {taken / 2:.2f} of the memory that copies may take; {ratio:.2f} times as quick")
    assert ratio > 1.5


@pytest.mark.ray
def test_a_segment_too_large_is_halved_and_the_level_remembered(ledger: Path, env: Path) -> None:
    """It needs 100 of 80; two halves need 50 each."""
    pipe = pipeline(env, {"peak": 20, "huge": 5, "huge_peak": 100}, gpu_memory=1.0)
    videos, events, _ = execute(pipe, frames=240, gpus=1)
    assert whole(videos[0], 240)
    failed = [(e["index"], e["level"], e["verdict"]) for e in events if e["event"] == "stage_failed"]
    assert failed[0] == (5, 0, "cheaper") and len(failed) <= 2
    levels = {e["index"]: e["level"] for e in events if e["event"] == "stage_done" and e["slot"] == "prior"}
    assert levels[4] == 0 and levels[5] == 1 and levels[19] == 1, "what did not fit once is not tried again and again"
    assert {"prior": 1} in videos[0].result["ladder"]


@pytest.mark.ray
def test_before_it_is_given_up_a_segment_has_a_gpu_to_itself(ledger: Path, env: Path) -> None:
    """Halved it needs 70 of 80, and the neighbour has 24: with that gone, it is done."""
    prior = {"peak": 12, "huge": 5, "huge_peak": 140}
    pipe = pipeline(env, prior, {"resident": 24, "peak": 24}, num_gpus=0.5, gpu_memory=0.45, actors=1)
    videos, events, _ = execute(pipe, frames=240, gpus=1)
    assert whole(videos[0], 240)
    verdicts = [e["verdict"] for e in events if e["event"] == "stage_failed" and e["index"] == 5]
    assert verdicts == ["cheaper", "alone"]
    assert count(events, "actor_ready", "geometry") == 2, "it was ended, and is back"


@pytest.mark.ray
def test_what_fits_nowhere_is_quarantined(ledger: Path, env: Path) -> None:
    pipe = pipeline(env, {"peak": 20, "huge": 5, "huge_peak": 400}, gpu_memory=0.5)
    videos, _, _ = execute(pipe, ("a", "b"), frames=120, gpus=1, max_attempts=2)
    assert [video.status for video in videos] == ["failed", "failed"]
    assert "CUDA out of memory" in videos[0].reason


def test_halves_put_together_are_the_whole() -> None:
    segment = Segment(VideoInfo("v", "v", "0", 9, 30.0, 4, 5, 4, 5), 0, 0, 9)
    rgb = np.random.default_rng(0).integers(0, 255, (9, 4, 5, 3), dtype=np.uint8)

    class Plain(HungryPrior):
        def use(self, segment: Segment) -> None:
            assert len(segment) in (4, 5)

    halves = process_in_halves(Plain(), segment, {"frames.rgb": rgb})
    assert (halves["prior.points"] == 1 + rgb.astype(np.float16)).all()
    assert can_split(HungryMask) and rungs(HungryMask) == 1


def test_tracks_and_ordered_stages_are_not_split() -> None:
    from geoflow.backends.loading import load

    assert not can_split(load("embedded.klt")), "its tracks go from one half into the other"
    assert not can_split(load("geoflow.stages.stitch"))
