"""Deterministic stages that fail if a file in a folder says so, once for each such file."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param

MISDEEDS = ("exit", "hang", "shape", "raise", "leak", "memory", "print")


class _Fallible(Stage):
    @dataclass(frozen=True)
    class Params(Stage.Params):
        folder: str = param("", "where files named after a fault may appear; the first stage to find one fails so")
        seconds: float = param(0.3, "for a segment")
        poison: str = param("", "video[segment] on which it always fails")

    def setup(self) -> None:
        self._hoard: list[np.ndarray] = []

    def process(self, segment: Segment, fields: Fields) -> Fields:
        if self.params.poison == f"{segment.video.name}[{segment.index}]":
            raise RuntimeError("the model does not like this one")
        misdeed = self._told()
        if misdeed == "exit":
            os._exit(1)
        if misdeed == "hang":
            time.sleep(3600)
        if misdeed == "raise":
            raise RuntimeError("not today")
        if misdeed == "memory":
            raise MemoryError("not so much today")
        if misdeed == "print":
            for descriptor in (1, 2):
                os.write(descriptor, bytes(range(256)) * 4096)
        if misdeed == "leak":
            self._hoard.append(np.ones(2 << 30, np.uint8))
        time.sleep(self.params.seconds)
        result = self.compute(fields)
        if misdeed == "shape":
            result = {name: array[1:] for name, array in result.items()}
        return result

    def _told(self) -> str:
        for name in MISDEEDS:
            try:
                (Path(self.params.folder) / name).unlink()
                return name
            except FileNotFoundError:
                continue
        return ""

    def compute(self, fields: Fields) -> Fields:
        raise NotImplementedError


class Prior(_Fallible):
    """Depth from brightness."""

    slot = "prior"
    inputs = ("frames.rgb",)
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")

    def compute(self, fields: Fields) -> Fields:
        return prior_from_brightness(fields["frames.rgb"])


class Geometry(_Fallible):
    """The prior, a little larger."""

    slot = "geometry"
    inputs = ("prior.points", "prior.mask", "prior.intrinsics")
    outputs = ("geometry.points", "geometry.mask", "geometry.intrinsics")

    def compute(self, fields: Fields) -> Fields:
        return geometry_from_prior(fields, 1.5)


def prior_from_brightness(rgb: np.ndarray, factor: float = 1.0) -> Fields:
    """Return the fields of slot `prior` for frames `rgb` (T,H,W,3): depth `factor` times 1 for black to 3 for white."""
    depth = (rgb.mean(axis=-1) / 128 + 1) * factor
    points = np.stack([np.zeros_like(depth), np.zeros_like(depth), depth], -1).astype(np.float16)
    eye = np.tile(np.eye(3, dtype=np.float32), (len(depth), 1, 1))
    return {"prior.points": points, "prior.mask": np.ones(depth.shape, bool), "prior.intrinsics": eye}


def geometry_from_prior(fields: Fields, factor: float) -> Fields:
    """Return the fields of slot `geometry`: those of `prior`, `factor` times as far away."""
    return {
        "geometry.points": (fields["prior.points"] * np.float16(factor)).astype(np.float16),
        "geometry.mask": fields["prior.mask"].copy(),
        "geometry.intrinsics": fields["prior.intrinsics"].copy(),
    }
