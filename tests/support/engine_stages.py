"""Small stages for the engine's tests: each does one thing that a real backend might do to it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.errors import InputError
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Fields, SegmentRecord, Stage, param


class Source(Stage):
    """Frames whose first pixel says which frame it is."""

    slot = "decode"
    inputs = ("video.index",)
    outputs = ("frames.rgb", "frames.index", "frames.time")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        index = fields["video.index"][segment.start : segment.stop]
        shape = (len(segment), segment.video.height, segment.video.width, 3)
        rgb = np.broadcast_to((index % 251).astype(np.uint8)[:, None, None, None], shape).copy()
        return {"frames.rgb": rgb, "frames.index": index.copy(), "frames.time": index / segment.video.fps}


def _once(folder: str, name: str) -> bool:
    """True the first time this is asked in any process."""
    try:
        (Path(folder) / name).touch(exist_ok=False)
        return True
    except FileExistsError:
        return False


def _an_hour_before(clock: Callable[[], float]) -> float:
    return clock() - 3600


def hurry_file(folder: str | Path) -> Path:
    """While it is not there, 'slow' calls are."""
    return Path(folder) / "hurry"


class Prior(Stage):
    """Depth 1 everywhere; misbehaves on request, on one segment, once or always."""

    slot = "prior"
    inputs = ("frames.rgb",)
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")
    ladder = ({"mode": ""},)

    @dataclass(frozen=True)
    class Params(Stage.Params):
        mode: str = param("", "what goes wrong: see `process` and `_misbehave`")
        stubborn: str = param("", "the same, at every level of the ladder")
        video: str = param("", "only on this video; empty means all")
        segment: int = param(1, "only on this segment; -1 means all")
        folder: str = param("", "where 'once' is remembered, and whether 'slow' is over")

    def setup(self) -> None:
        if self.params.mode == "setup":
            raise ImportError("libfancy.so.3: cannot open shared object file")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        if self.params.segment in (-1, segment.index) and self.params.video in ("", segment.video.name):
            self._misbehave(segment)
        frames, height, width, _ = fields["frames.rgb"].shape
        mode = self.params.mode or self.params.stubborn
        dtype = np.float32 if mode == "wrong-dtype" else np.float16
        blind = mode == "blind"
        value = {"blind": np.nan, "nan": np.nan, "overflow": np.inf}.get(mode, 1)
        return {
            "prior.points": np.full((frames, height, width, 3), value, dtype),
            "prior.mask": np.full((frames, height, width), not blind),
            "prior.intrinsics": np.tile(np.eye(3, dtype=np.float32), (frames, 1, 1)),
        }

    def _misbehave(self, segment: Segment) -> None:
        mode = self.params.mode or self.params.stubborn
        if mode == "raise" or (mode == "raise-once" and _once(self.params.folder, "raise")):
            raise RuntimeError("the model does not like this one")
        if mode == "step-clock":  # of its machine, an hour back
            time.time = partial(_an_hour_before, time.time)  # type: ignore[assignment]
        if mode == "die" or (mode == "die-once" and _once(self.params.folder, "die")):
            os._exit(1)
        if mode == "input":
            raise InputError(f"{segment.video.source}: frame 7 cannot be decoded; re-encode the file")
        if mode == "memory":
            raise MemoryError("CUDA out of memory")
        if mode == "hang-once" and _once(self.params.folder, "hang"):
            time.sleep(3600)
        if mode == "busy":
            time.sleep(0.05)
        if mode == "slow" and not hurry_file(self.params.folder).exists():
            time.sleep(2.0)


class Named(Prior):
    """A user's stage whose parameters happen to be called as what the run fills in for `write`."""

    @dataclass(frozen=True)
    class Params(Stage.Params):
        out: str = param("its own", "")
        remote: str = param("its own", "")
        share: str = param("its own", "")
        pipeline: str = param("its own", "")


class Sum(Stage):
    """Ordered: checks the order, carries a running sum of frame numbers, and writes it down at the end."""

    slot = "stitch"
    inputs = ("frames.index", "prior.mask")
    optional = ("geometry.mask",)
    outputs = ("frames.index",)
    ordered = True

    @dataclass(frozen=True)
    class Params(Stage.Params):
        folder: str = param("", "where to write the sum")
        die_at: int = param(-1, "die once on this segment, after its work is done")
        finish: str = param("", "what happens there: hang, hang-once, raise")
        finish_video: str = param("", "only with this video; empty means all")

    def setup(self) -> None:
        self._sum, self._next = 0, 0

    def process(self, segment: Segment, fields: Fields) -> Fields:
        if segment.index != self._next:
            raise RuntimeError(f"segment {segment.index} came when {self._next} was due")
        own = fields["frames.index"][: len(segment) - segment.overlap_after]
        self._sum += int(own.sum())
        self._next += 1
        if segment.index == self.params.die_at and _once(self.params.folder, "sum-died"):
            os._exit(1)
        return {"frames.index": own}

    def state(self) -> dict[str, Any]:
        return {"sum": np.array([self._sum]), "next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        self._sum, self._next = int(state["sum"][0]) if state else 0, state.get("next", 0)

    def finish(self, video: VideoInfo, records: list[SegmentRecord]) -> dict[str, Any]:
        how = self.params.finish if self.params.finish_video in ("", video.name) else ""
        if how == "hang" or (how == "hang-once" and _once(self.params.folder, "finish")):
            time.sleep(3600)
        if how == "raise":
            raise RuntimeError("the last page is missing")
        return {"sum": self._sum, "statuses": [r.status for r in records], "ladder": [r.ladder for r in records]}


class Hands(Stage):
    """An optional stage that cannot start."""

    slot = "hands"
    inputs = ("frames.rgb",)
    outputs = ("hands.left.valid",)

    def setup(self) -> None:
        raise ImportError("libhands.so.1: cannot open shared object file")


class Mask(Stage):
    """An optional stage beside the main branch."""

    slot = "geometry"
    inputs = ("frames.rgb", "prior.mask")
    outputs = ("geometry.mask",)

    @dataclass(frozen=True)
    class Params(Stage.Params):
        fail: bool = param(False, "raise on segment 0")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        if self.params.fail and segment.index == 0:
            raise ValueError("no mask today")
        return {"geometry.mask": fields["prior.mask"].copy()}
