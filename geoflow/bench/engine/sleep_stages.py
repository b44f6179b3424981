"""Sleeping stages as GeoFlow stages, one class for every way of passing the payload on.

A segment is an item. The payload travels as boolean masks, one byte a pixel: `frames.mask` along a chain, and
`prior.mask` and `geometry.mask` along the two branches of a DAG. What the last stage gives is a number a frame.
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
    """The video that stands for a workload; here, since the actor that is to probe it has this module already."""
    height, width = height_width
    info = VideoInfo(item.name, item.source, "0", num_frames, 30.0, height, width, height, width)
    index = np.arange(num_frames)
    return info, {"video.index": index, "video.pts": index, "video.time": index / 30}


class Sleep(Stage):
    """What all of them do; the field names of `inputs` stand in the order of the workload stage's `after`."""

    @dataclass(frozen=True)
    class Params(Stage.Params):
        workload: str = param("", "the workload, as JSON")
        stage: str = param("", "which of its stages this is")
        trace: str = param("", "file to note times in", bound_by_run=True)

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
