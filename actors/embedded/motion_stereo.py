"""Motion stereo: a point map for every frame, from the frames alone, on a CPU and without a network.

The mathematics is in `geoflow/geometry/depth/two_view.py`; here frames are scaled to its working size and back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param


class MotionStereo(Stage):
    """Depth from optical flow to two neighbour frames, with its own scale for every frame (median depth 1).

    It works if a moving camera films a scene that stands still. Where the camera stands still or only turns, and on
    things that move by themselves, the mask is False; the focal length is then only the most likely one.
    """

    slot = "prior"
    inputs = ("frames.rgb",)
    optional = ("frames.mask",)
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")
    version = "3"
    honours = frozenset({"intrinsics"})

    @dataclass(frozen=True)
    class Params(Stage.Params):
        working_size: int = param(
            320,
            "longer side in px of the images for optical flow; time grows with its square",
            at_least=16,
            at_most=16_384,
        )

    def process(self, segment: Segment, fields: Fields) -> Fields:
        import cv2

        from geoflow.geometry.depth.edge_aware import enlarge
        from geoflow.geometry.depth.two_view import MotionStereoSolver
        from geoflow.geometry.working_size import PointMaps, WorkingSize

        frames = fields["frames.rgb"]
        height, width = frames.shape[1:3]
        size = WorkingSize.at_most(height, width, self.params.working_size)
        pictures = [size.shrink(rgb) for rgb in frames]
        masks = fields.get("frames.mask")
        known = segment.video.known_intrinsics
        solver = MotionStereoSolver(
            [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures],
            None if known is None else size.shrink_intrinsics(known),
            None if masks is None else [size.shrink_map(mask) for mask in masks],
        )
        intrinsics = size.enlarge_intrinsics(solver.intrinsics) if known is None else known
        maps = PointMaps(len(frames), height, width, intrinsics)
        for i, (depth, mask) in enumerate(solver.frames()):
            if mask.any():
                full = enlarge(depth, frames[i])
                maps.put(i, full if masks is None else np.where(masks[i], np.float32(0), full))
        return {"prior.points": maps.points, "prior.mask": maps.mask, "prior.intrinsics": maps.intrinsics}
