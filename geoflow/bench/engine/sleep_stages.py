"""Sleeping stages as GeoFlow stages: one class for every way of passing the payload on.

A segment is an item. The payload is a boolean mask, one byte per pixel: `frames.mask` along a chain, `prior.mask` and
`geometry.mask` along the two branches of a DAG. The last stage returns one number per frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geoflow.bench.engine.sleeper import Sleeper
from geoflow.bench.engine.workloads import Workload
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Fields, Stage, param
from geoflow.video.inputs import Input

TRUNK, LEFT, RIGHT, END = "frames.mask", "prior.mask", "geometry.mask", "frames.index"


def probe(item: Input, num_frames: int, height_width: tuple[int, int]) -> tuple[VideoInfo, dict[str, Any]]:
    """Return the video that represents a workload.

    It is defined here because the actor that probes it has this module already.
    """
    height, width = height_width
    info = VideoInfo(item.name, item.source, "0", num_frames, 30.0, height, width, height, width)
    index = np.arange(num_frames)
    return info, {"video.index": index, "video.pts": index, "video.time": index / 30}


class Sleep(Stage):
    """The base of all sleeping stages; the fields of `inputs` are in the order of the workload stage's `after`."""

    @dataclass(frozen=True)
    class Params(Stage.Params):
        workload: str = param("", "the workload, as JSON")
        stage: str = param("", "the name of this stage in the workload")
        trace: str = param("", "file for the trace of times", bound_by_run=True)

    def setup(self) -> None:
        self._sleeper = Sleeper(Workload.from_json(self.params.workload), self.params.stage, self.params.trace)

    def process(self, segment: Segment, fields: Fields) -> Fields:
        arrays = [fields[name].view(np.uint8) for name in self.inputs if not name.startswith("video.")]
        made = self._sleeper.work(segment.index, arrays)
        (name,) = self.outputs
        if name == END:
            return {END: np.arange(segment.start, segment.stop)}
        return {name: made.view(bool).reshape(len(segment), segment.video.height, segment.video.width)}


class Start(Sleep):
    inputs, outputs = ("video.index",), (TRUNK,)


class Along(Sleep):
    inputs, outputs = (TRUNK,), (TRUNK,)


class ForkLeft(Sleep):
    inputs, outputs = (TRUNK,), (LEFT,)


class AlongLeft(Sleep):
    inputs, outputs = (LEFT,), (LEFT,)


class ForkRight(Sleep):
    inputs, outputs = (TRUNK,), (RIGHT,)


class AlongRight(Sleep):
    inputs, outputs = (RIGHT,), (RIGHT,)


class End(Sleep):
    inputs, outputs = (TRUNK,), (END,)


class SleepJoin(Sleep):
    inputs, outputs = (LEFT, RIGHT), (END,)
