"""A stage for clusters that pretend to have GPUs, whose nodes come and go with the work."""

from __future__ import annotations

import time
from dataclasses import dataclass

from geoflow.segments import Segment
from geoflow.stage import Fields, param
from geoflow.stages.write import Write


class SlowWrite(Write):
    """Takes its time over the end of each video."""

    @dataclass(frozen=True)
    class Params(Write.Params):
        seconds: float = param(10.0, "that a video's end takes")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        if segment.is_last:
            time.sleep(self.params.seconds)
        return super().process(segment, fields)
