"""What a run will take: from what earlier runs took, and unknown where those do not tell."""

from __future__ import annotations

import io
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import clips
import pytest
from rich.console import Console

from geoflow.cluster.session import BUDGET_SHARE, Capacity
from geoflow.engine.fleet import Fleet
from geoflow.engine.gpu import nvml
from geoflow.engine.gpu.nvml import GpuDevice, list_gpus, visible
from geoflow.engine.graph import Graph
from geoflow.engine.mailbox import Mailbox
from geoflow.engine.profile import Measured, keep_profile
from geoflow.errors import ConfigError, EnvironmentBroken, InputError
from geoflow.pipeline import Pipeline
from geoflow.planning.costs import Estimate, StageCost, VideoWork, bottleneck, price, together, work_of
from geoflow.planning.plan import _video, make_plan
from geoflow.planning.plan_table import render_plan, summary
from geoflow.segments import VideoInfo
from geoflow.video.options import ReadOptions

PIXELS = 64 * 48
CPU_STAGE = StageCost("decode", 0.1, PIXELS, 0.0)
GPU_STAGE = StageCost("prior", 0.5, PIXELS, 0.5)
MINUTE = VideoWork(frames=720, pixels=PIXELS, seconds=60.0)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoflow.planning.plan.list_gpus", list)


@pytest.fixture
def clip(tmp_path: Path) -> str:
    clips.write(tmp_path / "a.mp4", 30)  # 64x48
    return str(tmp_path / "a.mp4")


def gpu_pipeline(path: Path, memory: float = 0.5) -> Path:
    """Two GPU stages of half a GPU each, segments of 12 frames of which 4 are shared."""
    path.write_text(
        "name: half\nsegment: {size: 12, overlap: 4}\nstages:\n"
        "  - {slot: decode, backend: 'engine_stages:Source'}\n"
        f"  - {{slot: prior, backend: 'engine_stages:Prior', num_gpus: 0.5, gpu_memory: {memory}, weight: 1}}\n"
        f"  - {{slot: geometry, backend: 'engine_stages:Mask', num_gpus: 0.25, gpu_memory: {memory}, weight: 1}}\n"
    )
    return path


def remember(path: Path, pixels: int = PIXELS, kind: str = "", **seconds: float) -> None:
    """As a run would: seconds per segment of 12 frames."""
    measured = {slot: Measured(s, pixels, seconds_per_frame=s / 12) for slot, s in seconds.items()}
    keep_profile(Pipeline.load(path), measured, kind)


def shown(plan: dict[str, Any]) -> str:
    file = io.StringIO()
    Console(width=2000, file=file).print(render_plan(plan))  # so wide that no path is folded
    return file.getvalue()


def test_work_is_added_up_and_gpus_by_their_share() -> None:
    found = work_of([CPU_STAGE, GPU_STAGE], MINUTE)
    assert found.by_slot == {"decode": pytest.approx(72.0), "prior": pytest.approx(360.0)}
    assert found.seconds == pytest.approx(432.0) and found.gpu_seconds == pytest.approx(180.0)
    assert not found.at_most and found.unknown == []
    both = together([found, found])
    assert both.seconds == pytest.approx(864.0) and both.gpu_seconds == pytest.approx(360.0)


def test_what_was_never_measured_is_unknown_and_stays_so_in_sums() -> None:
    for unknown in (StageCost("prior", None, 0, 0.5), StageCost("prior", 0.5, PIXELS - 1, 0.5)):
        found = work_of([CPU_STAGE, unknown], MINUTE)
        assert found.unknown == ["prior"] and found.seconds is None and found.gpu_seconds is None
        assert together([work_of([CPU_STAGE, GPU_STAGE], MINUTE), found]).unknown == ["prior"]
    share = work_of([StageCost("prior", 0.5, PIXELS, None)], MINUTE)
    assert share.seconds == pytest.approx(360.0) and share.gpu_seconds is None, "the first call finds the share"
    assert work_of([CPU_STAGE], MINUTE).gpu_seconds == 0, "no GPU, no hours: that is known"


def test_larger_frames_bound_smaller_ones() -> None:
    assert work_of([StageCost("prior", 0.5, 2 * PIXELS, 0.5)], MINUTE).at_most
    assert not work_of([StageCost("prior", None, 0, 0.5)], MINUTE).at_most


def test_bounds_and_prices_need_all_of_it() -> None:
    assert bottleneck({"a": 10.0, "b": 30.0}, {"a": 1, "b": 4}) == ("a", 10.0)
    assert bottleneck({"a": 10.0, "b": None}, {"a": 1, "b": 4}) is None
    assert price(None, 60.0, 2.0) is None and price(1.0, 0.0, 2.0) is None
    assert price(1800.0, 3600.0, 3.0) == (1.5, 1.5)
    assert together([]) == Estimate({}, 0, 0, False)


def test_a_plan_prices_what_earlier_runs_measured(tmp_path: Path, clip: str) -> None:
    path = gpu_pipeline(tmp_path / "half.yaml")
    remember(path, decode=1.2, prior=12.0, geometry=6.0)
    plan = make_plan([clip], path, gpus=1, gpu_cost=3.0)
    assert plan["videos"][0]["segments"] == math.ceil((30 - 4) / 8) == 4
    frames = 30 + 3 * 4  # those of the three seams are computed twice
    assert plan["total"]["seconds_by_stage"] == pytest.approx(
        {"decode": 0.1 * frames, "prior": 1.0 * frames, "geometry": 0.5 * frames}
    )
    hours = (0.5 * 1.0 + 0.25 * 0.5) * frames / 3600
    assert plan["total"]["gpu_hours"] == pytest.approx(hours)
    assert plan["total"]["cost"] == pytest.approx(3.0 * hours)
    played = plan["videos"][0]["plays_seconds"] / 3600
    assert plan["total"]["cost_per_video_hour"] == pytest.approx(3.0 * hours / played)
    assert sorted(plan["gpus"][0]) == ["geometry", "prior"] and plan["total"]["limited_by"] == "prior"
    text = shown(plan)
    assert "per hour of video, at $3 per GPU and hour" in text and "unknown" not in "".join(summary(plan))
    assert "need a GPU, and this machine has none" in text and "GPU 0 keeps loaded: geometry, prior" in text


@pytest.mark.parametrize(("size", "segments"), [(96, 28), (200, 12)])
def test_a_plan_counts_the_frames_of_chapters(size: int, segments: int) -> None:
    pipe = Pipeline.load("embedded", {"segment.size": size})
    graph = Graph.build([(spec.slot, spec.make_stage(), spec.optional) for spec in pipe.stages])
    row, _ = _video(VideoInfo("v", "v", "", 2000, 30.0, 4, 4, 4, 4), pipe, graph)
    assert (row["segments"], row["spans"]) == (segments, {"camera": {"kind": "chapter", "count": 7, "frames": 2576}})


def test_a_plan_says_what_it_does_not_know(tmp_path: Path, clip: str) -> None:
    path = gpu_pipeline(tmp_path / "half.yaml")
    remember(path, decode=1.2, geometry=6.0)
    plan = make_plan([clip], path, gpus=1, gpu_cost=3.0)
    total = plan["total"]
    assert total["unknown"] == ["prior"] and total["seconds_by_stage"]["decode"] > 0
    assert total["seconds"] is total["gpu_hours"] is total["cost"] is total["cost_per_video_hour"] is None
    lines = summary(plan)
    assert any(line.startswith("time: unknown") and "prior" in line for line in lines)
    assert "GPU hours: unknown" in lines and any(line.startswith("cost: unknown") for line in lines)


def test_times_hold_for_the_kind_of_gpu_they_were_taken_on(tmp_path: Path, clip: str) -> None:
    path = gpu_pipeline(tmp_path / "half.yaml")
    remember(path, kind="A100", decode=1.2, prior=12.0, geometry=6.0)
    assert make_plan([clip], path, gpus=1, kind="A100")["total"]["unknown"] == []
    assert make_plan([clip], path, gpus=1, kind="T4")["total"]["unknown"] == ["prior", "geometry"]


def test_frames_and_their_size_are_those_the_run_would_read(tmp_path: Path, clip: str) -> None:
    path = gpu_pipeline(tmp_path / "half.yaml")
    remember(path, decode=1.2, prior=12.0, geometry=6.0)
    assert make_plan([clip], path, reading=ReadOptions(size=(32, 24), limit=12))["total"]["at_most"]
    larger = make_plan([clip], path, reading=ReadOptions(size=(128, 96)))
    assert larger["total"]["unknown"] == ["decode", "prior", "geometry"]
    (video,) = make_plan([clip], path, reading=ReadOptions(limit=12))["videos"]
    assert (video["frames"], video["segments"]) == (12, 1) and video["seconds"] == pytest.approx(19.2)


def test_models_are_told_with_licence_and_weights(clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    own = tmp_path / "own"
    plan = make_plan([clip], "geometry", settings={"prior.weights": str(own)})
    rows = {row["slot"]: row for row in plan["stages"]}
    assert rows["geometry"]["commercial"] is False and rows["geometry"]["device"] == "GPU"
    assert {held["name"]: held["state"] for held in rows["geometry"]["weights"]} == {
        "diff": "missing",
        "point_map_vae": "missing",
        "base": "missing",
    }
    assert rows["prior"]["weights"] == [{"name": "v1", "place": str(own), "state": "own"}]
    assert rows["decode"]["weights"] == [] and rows["decode"]["commercial"] is True
    text = shown(plan)
    assert "(not commercial)" in text and "(missing)" in text and "GPU: auto compute, auto memory" in text


def test_a_segment_that_does_not_fit_is_told_with_one_that_does(
    tmp_path: Path, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = gpu_pipeline(tmp_path / "half.yaml")
    (taken,) = [row["segment_bytes"] for row in make_plan([clip], path)["videos"]]
    assert not any(line.startswith("memory") for line in summary(make_plan([clip], path)))
    for share, remedy in ((0.7, "--set segment.size=8,"), (0.5, "smaller frames (--size)")):
        budget = math.ceil(taken * share)
        monkeypatch.setattr(
            "geoflow.planning.plan.object_store", lambda memory, budget=budget: math.ceil(budget / BUDGET_SHARE)
        )
        (told,) = [row for row in summary(make_plan([clip], path)) if row.startswith("memory: a segment of a takes")]
        assert remedy in told
    monkeypatch.setattr("geoflow.planning.plan.object_store", lambda memory: math.ceil(0.7 * taken / BUDGET_SHARE))
    assert not any(row.startswith("memory") for row in summary(make_plan([clip], path, settings={"segment.size": 8})))


def test_a_backend_without_an_entry_has_an_unknown_licence(tmp_path: Path, clip: str) -> None:
    (row,) = [r for r in make_plan([clip], gpu_pipeline(tmp_path / "h.yaml"))["stages"] if r["slot"] == "prior"]
    assert row["licence"] is None and [held["state"] for held in row["weights"]] == ["unknown"]


def test_models_that_do_not_fit_are_refused(tmp_path: Path, clip: str) -> None:
    with pytest.raises(EnvironmentBroken, match=r"do not fit on 1 GPU.*prior 0.8, geometry 0.8"):
        make_plan([clip], gpu_pipeline(tmp_path / "big.yaml", memory=0.8), gpus=1)
    assert len(make_plan([clip], gpu_pipeline(tmp_path / "big.yaml", memory=0.8), gpus=2)["gpus"]) == 2


def test_inputs_that_cannot_be_used_are_refused_or_listed(tmp_path: Path, clip: str) -> None:
    """As by a run: refused if there is no other input, else named beside the others."""
    absent = str(tmp_path / "absent.mp4")
    with pytest.raises(InputError, match=r"nothing to do: .*absent\.mp4: does not exist; check the path"):
        make_plan([absent])
    with pytest.raises(InputError, match=r"nothing to do: .*a\[b\]\.mp4"):
        make_plan([str(tmp_path / "a[b].mp4")], gpu_cost=1.0)
    with pytest.raises(InputError, match="nothing to do: no input was given"):
        make_plan([])
    plan = make_plan([clip, absent])
    assert [row.get("problem") for row in plan["videos"]] == [None, "does not exist; check the path"]
    assert "absent.mp4" in shown(plan)
    with pytest.raises(ConfigError, match="no 'nosuch'"):
        make_plan([], "nosuch")


@pytest.mark.parametrize("option", ["masks", "objects", "cameras"])
def test_a_folder_that_is_missing_is_refused_as_by_a_run(tmp_path: Path, clip: str, option: str) -> None:
    with pytest.raises(ConfigError, match=f"--{option} .*nosuch"):
        make_plan([clip], reading=ReadOptions(**{option: str(tmp_path / "nosuch")}))


class Nvml:
    """NVML of a machine with two GPUs, as its Python bindings speak: old ones give bytes."""

    def __init__(self) -> None:
        self.open = 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str | bytes:
        return ("GPU-aa", b"GPU-ab")[handle]

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return ("NVIDIA A100", b"Tesla T4")[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=(80 << 30, 16 << 30)[handle], free=1 << 30)


def test_gpus_are_listed_as_cuda_would_see_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pretended = Nvml()
    monkeypatch.setattr(nvml, "nvml_bindings", lambda: pretended)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    a100, t4 = GpuDevice("NVIDIA A100", 80 << 30, 1 << 30), GpuDevice("Tesla T4", 16 << 30, 1 << 30)
    assert list_gpus() == [a100, t4]
    for setting, seen in (("1", [t4]), ("GPU-aa", [a100]), ("", []), ("-1", []), ("0,7,1", [a100]), ("GPU-a", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
        assert list_gpus() == seen, setting
    assert pretended.open == 0
    assert visible("1, 0", ["GPU-aa", "GPU-ab"]) == [1, 0]


def test_a_machine_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("NVML Shared Library Not Found")

    monkeypatch.setattr(nvml, "nvml_bindings", lambda: SimpleNamespace(nvmlInit=broken))
    assert list_gpus() == []
    monkeypatch.setitem(sys.modules, "ray", None)
    assert nvml.gpu_kind() == ""


@pytest.mark.parametrize(("gpus", "most"), [(1, None), (2, None), (5, None), (5, 2)])
def test_a_plan_says_what_a_run_does(tmp_path: Path, clip: str, gpus: int, most: int | None) -> None:
    """Pools and GPUs of a plan are those of the fleet of a run with as many CPUs and GPUs."""
    settings = {"max_gpus": most} if most else {}
    plan = make_plan([clip], path := gpu_pipeline(tmp_path / "half.yaml"), gpus=gpus, settings=settings)
    fleet = fleet_of(Pipeline.load(path, settings), Capacity(os.cpu_count() or 1, gpus, 1 << 30))
    found = {pool.spec.slot: (pool.size.actors, pool.size.threads) for pool in fleet.pools}
    assert {row["slot"]: (row["actors"], row["threads"]) for row in plan["stages"]} == found
    assert found["prior"][0] >= min(gpus, most or gpus), "as many as there are GPUs, at least"


def test_a_stage_of_objects_has_its_place_in_a_plan(tmp_path: Path, clip: str) -> None:
    (tmp_path / "meshes.yaml").write_text(
        "name: meshes\nsegment: {size: 12, overlap: 4}\nstages:\n"
        "  - {slot: decode, backend: geoflow.stages.decode}\n"
        "  - {slot: stitch, backend: geoflow.stages.stitch}\n"
        "  - {slot: mesh, backend: 'object_stages:WholeBoxes', num_gpus: 1, weight: 1, optional: true}\n"
        "  - {slot: write, backend: geoflow.stages.write}\n"
    )
    plan = make_plan([clip], path := tmp_path / "meshes.yaml", gpus=1)
    assert plan["gpus"] == [["mesh"]] and [row["span"] for row in plan["stages"]] == [
        *["segment"] * 2,
        "object",
        "segment",
    ]
    assert "mesh, per object (optional)" in shown(plan)
    fleet = fleet_of(Pipeline.load(path), Capacity(os.cpu_count() or 1, 1, 1 << 30))
    assert [pool.size.actors for pool in fleet.pools if pool.spec.slot == "mesh"] == [plan["stages"][2]["actors"]]


def fleet_of(pipe: Pipeline, capacity: Capacity) -> Fleet:
    stages = [spec.make_stage() for spec in pipe.stages]
    graph = Graph.build([(spec.slot, stage, spec.optional) for spec, stage in zip(pipe.stages, stages)])
    nothing: dict[str, Any] = {"emit": lambda event, **data: None, "disable": lambda stage, error: None}
    return Fleet(pipe, stages, graph, capacity, follows=False, least_deadline=60.0, mailbox=Mailbox(), **nothing)
