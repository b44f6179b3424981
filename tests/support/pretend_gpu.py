"""GPU memory for tests: a ledger file that all actors on a machine share, and that really refuses; and stages on it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param

TOTAL = 80  # "GB"


class OutOfMemoryError(RuntimeError):
    """As torch's."""


@contextmanager
def _ledger() -> Iterator[dict[str, Any]]:
    with open(os.environ["PRETEND_GPU"], "r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        book = json.load(file)
        for gpu in book["gpus"].values():  # the dead own nothing
            for pid in [pid for pid in gpu if not Path(f"/proc/{pid}").exists()]:
                del gpu[pid]
        yield book
        file.seek(0)
        file.truncate()
        json.dump(book, file)


def new_ledger(path: Path) -> Path:
    path.write_text(json.dumps({"gpus": {}, "most": {}, "together": {}, "refused": []}))
    return path


def _gpu() -> str:
    import ray

    return str(ray.get_gpu_ids()[0])


def allocate(size: int) -> None:
    """Let this process have `size` in all. Raises OutOfMemoryError when its GPU has not got so much."""
    with _ledger() as book:
        gpu = book["gpus"].setdefault(_gpu(), {})
        own, others = str(os.getpid()), sum(s for pid, s in gpu.items() if pid != str(os.getpid()))
        cap = PretendMeter.caps.get(os.getpid(), 1.0)
        fits = others + size <= TOTAL and size <= cap * TOTAL + 1e-9
        if fits:
            gpu[own] = size
            book["most"][_gpu()] = max(book["most"].get(_gpu(), 0), others + size)
            book["together"][_gpu()] = max(book["together"].get(_gpu(), 0), sum(s > 0 for s in gpu.values()))
        else:
            book["refused"].append([time.time(), size, others])
    if not fits:
        raise OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} GB with {others} GB taken")
    PretendMeter.peaks[os.getpid()] = max(PretendMeter.peaks.get(os.getpid(), 0), size)


class PretendMeter:
    caps: ClassVar[dict[int, float]] = {}
    peaks: ClassVar[dict[int, int]] = {}

    def total(self) -> int:
        return TOTAL

    def start(self) -> None:
        self.peaks[os.getpid()] = 0

    def stop(self) -> int:
        return self.peaks[os.getpid()]

    def cap(self, share: float) -> None:
        self.caps[os.getpid()] = share


class Hungry(Stage):
    """Has `resident` from when it is loaded, and `peak` while it works; both are less further down the ladder."""

    @dataclass(frozen=True)
    class Params(Stage.Params):
        resident: int = param(8, "GB")
        peak: int = param(20, "GB for a whole segment")
        huge: int = param(-1, "segment that needs `huge_peak`")
        huge_peak: int = param(0, "GB")
        seconds: float = param(0.02, "for a segment")

    def setup(self) -> None:
        allocate(self.params.resident)

    def use(self, segment: Segment) -> None:
        peak = self.params.huge_peak if segment.index == self.params.huge else self.params.peak
        allocate(max(self.params.resident, round(peak * len(segment) / 12)))
        time.sleep(self.params.seconds)
        allocate(self.params.resident)


class HungryPrior(Hungry):
    slot = "prior"
    inputs = ("frames.rgb",)
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        self.use(segment)
        frames, height, width, _ = fields["frames.rgb"].shape
        return {
            "prior.points": 1 + fields["frames.rgb"].astype(np.float16),
            "prior.mask": np.ones((frames, height, width), bool),
            "prior.intrinsics": np.tile(np.eye(3, dtype=np.float32), (frames, 1, 1)),
        }


class HungryMask(Hungry):
    slot = "geometry"
    inputs = ("frames.rgb", "prior.mask")
    outputs = ("geometry.mask",)

    def process(self, segment: Segment, fields: Fields) -> Fields:
        self.use(segment)
        return {"geometry.mask": fields["prior.mask"].copy()}


class HungryCamera(Hungry):
    slot = "camera"
    inputs = ("frames.index",)
    outputs = ("camera.valid",)

    def process(self, segment: Segment, fields: Fields) -> Fields:
        self.use(segment)
        return {"camera.valid": np.ones(len(segment), bool)}


class HungryUnit(Hungry):
    slot = "unit"
    inputs = ("camera.valid", "geometry.mask")
    outputs = ("camera.unit",)

    def process(self, segment: Segment, fields: Fields) -> Fields:
        self.use(segment)
        return {"camera.unit": fields["camera.valid"].astype(np.uint8)}
