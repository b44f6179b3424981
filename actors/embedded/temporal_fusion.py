"""Temporal fusion: a segment's point maps brought to one scale and made steady, whatever prior they come from.

The mathematics is in `geoflow/geometry/fusion.py`; here maps are brought to its working size and back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.fields import MOTION_ROTATING, MOTION_STILL
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param


class TemporalFusion(Stage):
    """Point maps with one focal length and one scale over the segment (median depth 1).

    Takes any prior that is right up to a scale per frame. Where several frames have a say and no two agree, depth is
    dropped; small holes with smooth surroundings are closed; the rest stays unknown.

    With `from_camera` the camera stage's depth is taken as it is for the frames that have one: known poses and many
    views tell more than a prior of two. The others are left unknown where the camera stood still or only turned, and
    fused from the prior where its poses could not be found.
    """

    slot = "geometry"
    inputs = ("frames.rgb", "prior.points", "prior.mask", "prior.intrinsics")
    outputs = ("geometry.points", "geometry.mask", "geometry.intrinsics")
    ladder = ({"working_size": 240},)
    version = "2"

    @dataclass(frozen=True)
    class Params(Stage.Params):
        working_size: int = param(
            320, "longer side in px of the maps that are fused; time and memory grow with its square"
        )
        passes: int = param(2, "rounds of fusion; each lets a frame hear of frames further away")
        from_camera: bool = param(False, "take depth that the camera stage found in place of the fused prior")

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        if self.params.from_camera:
            self.optional = ("camera.depth", "camera.intrinsics", "camera.valid", "camera.motion")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        from geoflow.geometry.alignment import depth_ratio
        from geoflow.geometry.working_size import PointMaps

        masks = fields["prior.mask"]
        if "camera.depth" not in fields:
            return self._fused(segment, fields, masks)
        motion, depth = fields["camera.motion"], fields["camera.depth"]
        seen = fields["camera.valid"] & depth.any(axis=(1, 2))
        posed_without = np.isin(motion, (MOTION_STILL, MOTION_ROTATING))[:, None, None]
        if not seen.any():
            return self._fused(segment, fields, masks & ~posed_without)
        intrinsics = fields["camera.intrinsics"][seen.argmax()]
        median = np.float32(np.median([np.median(d[d > 0]) for d in depth[seen]]))
        height, width = depth.shape[1:]
        maps = PointMaps(len(depth), height, width, intrinsics)
        for i in np.flatnonzero(seen):
            maps.put(int(i), depth[i].astype(np.float32) / median)
        if not (seen | posed_without.ravel()).all():
            fused = self._fused(segment, fields, masks & ~posed_without)
            theirs = np.where(fused["geometry.mask"], fused["geometry.points"][..., 2], np.float16(0))
            scale = depth_ratio(maps.points[seen][..., 2], theirs[seen])
            for i in np.flatnonzero(~seen) if scale else ():
                maps.put(int(i), theirs[i].astype(np.float32) * np.float32(scale))
        return {"geometry.points": maps.points, "geometry.mask": maps.mask, "geometry.intrinsics": maps.intrinsics}

    def _fused(self, segment: Segment, fields: Fields, masks: np.ndarray) -> Fields:
        """The prior's maps under `masks` (T, H, W), fused."""
        import cv2

        from geoflow.geometry.edge_aware import fill, sharpen
        from geoflow.geometry.fusion import DepthFuser
        from geoflow.geometry.working_size import PointMaps, WorkingSize

        frames, points = fields["frames.rgb"], fields["prior.points"]
        known = segment.video.known_intrinsics
        intrinsics = np.median(fields["prior.intrinsics"], axis=0) if known is None else known
        height, width = frames.shape[1:3]
        size = WorkingSize.at_most(height, width, self.params.working_size)
        pictures = [size.shrink(rgb) for rgb in frames]
        # The fuser and its flows are let go of before the full-size maps are made.
        fused = DepthFuser(
            [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures],
            [size.shrink_map(np.where(m, p[..., 2], 0).astype(np.float32)) for p, m in zip(points, masks)],
            size.shrink_intrinsics(intrinsics),
        ).run(self.params.passes)
        maps = PointMaps(len(frames), height, width, intrinsics)
        for i, depth in enumerate(fused):
            if depth.any():
                closed = fill(sharpen(depth, pictures[i]), pictures[i])
                maps.put(i, size.enlarge_depth(closed, pictures[i], frames[i]))
        return {"geometry.points": maps.points, "geometry.mask": maps.mask, "geometry.intrinsics": maps.intrinsics}
