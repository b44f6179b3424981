"""Stages whose depth is in metres: a wall three metres in front of the camera."""

from __future__ import annotations

import numpy as np

from geoflow.geometry.cameras import pinhole, unproject
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage

WALL_M = 3.0


class MetricDepth(Stage):
    slot = "geometry"
    inputs = ("frames.rgb",)
    outputs = ("geometry.points", "geometry.mask", "geometry.intrinsics")
    metric = True

    def process(self, segment: Segment, fields: Fields) -> Fields:
        shape = fields["frames.rgb"].shape[:3]
        intrinsics = np.tile(pinhole(60.0, *shape[1:]), (shape[0], 1, 1))
        points = unproject(np.full(shape, WALL_M), intrinsics).astype(np.float16)
        return dict(zip(self.outputs, (points, np.ones(shape, bool), intrinsics.astype(np.float32))))


class MetricPrior(MetricDepth):
    slot = "prior"
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")
