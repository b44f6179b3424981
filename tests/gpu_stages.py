"""Stages for clusters that pretend to have GPUs: what they give is plain, what matters is where and when they run."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param
from geoflow.stages.write import Write


class SlowPrior(Stage):
    """A plane, after a while."""

    slot = "prior"
    inputs = ("frames.rgb",)
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")

    @dataclass(frozen=True)
    class Params(Stage.Params):
        seconds: float = param(1.0, "that a segment takes")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        time.sleep(self.params.seconds)
        t, h, w, _ = fields["frames.rgb"].shape
        return {
            "prior.points": np.ones((t, h, w, 3), np.float16),
            "prior.mask": np.ones((t, h, w), bool),
            "prior.intrinsics": np.tile(np.diag([w, w, 1]).astype(np.float32), (t, 1, 1)),
        }


class SlowWrite(Write):
    """Takes its time over the end of each video."""

    @dataclass(frozen=True)
    class Params(Write.Params):
        seconds: float = param(10.0, "that a video's end takes")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        if segment.is_last:
            time.sleep(self.params.seconds)
        return super().process(segment, fields)
