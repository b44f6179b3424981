"""Runs of the executor on the stages of `engine_stages.py`, for tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.cluster.session import Capacity
from geoflow.engine.executor import Executor
from geoflow.engine.intake import Limits
from geoflow.engine.state import VideoRun
from geoflow.errors import InputError
from geoflow.observe.events import problems
from geoflow.pipeline import Pipeline
from geoflow.segments import VideoInfo
from geoflow.video.inputs import Input

Events = list[dict[str, Any]]


def prober(frames: int, side: int = 8) -> Callable[[Input], tuple[VideoInfo, dict[str, Any]]]:
    def probe(item: Input) -> tuple[VideoInfo, dict[str, Any]]:
        if "corrupt" in item.name:
            raise InputError(f"{item.source} is not a video; re-encode it")
        index = np.arange(frames)
        info = VideoInfo(item.name, item.source, "0", frames, 30.0, side, side, side, side)
        return info, {"video.index": index, "video.pts": index, "video.time": index / 30}

    return probe


def pipeline(
    folder: Path, *, cut: tuple[int, int] = (12, 4), mask: bool = False, gpu: bool = False, **settings: Any
) -> Pipeline:
    """decode → prior [→ geometry] → stitch; settings such as prior__mode="raise"."""
    share = {"num_gpus": 0.5, "gpu_memory": 0.2} if gpu else {"num_cpus": 0.5}
    stages: list[dict[str, Any]] = [
        {"slot": "decode", "backend": "engine_stages:Source", "num_cpus": 0.5},
        {"slot": "prior", "backend": "engine_stages:Prior", "params": {"folder": str(folder)}, **share},
        {"slot": "stitch", "backend": "engine_stages:Sum", "params": {"folder": str(folder)}, "num_cpus": 0.5},
    ]
    if mask or gpu:
        stages.insert(2, {"slot": "geometry", "backend": "engine_stages:Mask", "optional": True, **share})
    raw = {"name": "test", "segment": {"size": cut[0], "overlap": cut[1]}, "stages": stages}
    return Pipeline.from_dict(raw, {key.replace("__", "."): value for key, value in settings.items()})


def execute(
    pipe: Pipeline,
    names: tuple[str, ...] = ("a",),
    *,
    frames: int = 40,
    side: int = 8,
    gpus: int = 0,
    budget_bytes: int = 1 << 28,
    observe: Callable[[dict[str, Any]], None] = lambda event: None,
    look: Callable[[], Capacity] | None = None,
    **limits: Any,
) -> tuple[list[VideoRun], Events, Executor]:
    events: Events = []

    def emit(event: str, **data: Any) -> None:
        assert (wrong := problems({"event": event, **data})) == [], wrong
        events.append({"event": event, "at": time.time(), **data})
        observe(events[-1])

    capacity = look() if look else Capacity(4, gpus, budget_bytes)
    executor = Executor(pipe, prober(frames, side), Limits(**limits), capacity, emit=emit, look=look)
    return executor.run([Input(name, f"/videos/{name}.mp4") for name in names]), events, executor


def whole(video: VideoRun, frames: int = 40) -> bool:
    """Complete, and every frame was there once."""
    return video.status == "complete" and video.result["sum"] == sum(range(frames))


def count(events: Events, event: str, slot: str | None = None) -> int:
    return sum(e["event"] == event and slot in (None, e.get("slot")) for e in events)
