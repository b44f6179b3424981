"""Temporal fusion: a segment's point maps get one scale and become steady, whatever prior they come from.

The mathematics is in `geoflow/geometry/depth/fusion.py`; here maps are scaled to its working size and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoflow.fields import GEOMETRY_OF_CAMERA, GEOMETRY_OF_NOTHING, GEOMETRY_OF_PRIOR
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param

if TYPE_CHECKING:
    from geoflow.geometry.working_size import PointMaps


class TemporalFusion(Stage):
    """Point maps with one focal length and one scale over the segment (median depth 1).

    Takes any prior that is right up to a scale per frame. Where several frames see a point and no two agree, depth is
    dropped; small holes with smooth surroundings are filled; all else stays unknown.

    With `from_camera` the camera stage's depth is used instead: known poses and many views give more than a prior of
    two views. The prior is fused in segments where the camera stage gives no depth, or failed. `geometry.source` says
    which of both a frame's depth is from; `stitch` brings them to one scale by the frames that segments share.
    """

    slot = "geometry"
    depth_at_rest = True
    inputs = ("frames.rgb", "prior.points", "prior.mask", "prior.intrinsics")
    outputs = ("geometry.points", "geometry.mask", "geometry.intrinsics")
    ladder = ({"working_size": 240},)
    optional_outputs = ("geometry.source",)
    version = "4"
    honours = frozenset({"intrinsics"})

    @dataclass(frozen=True)
    class Params(Stage.Params):
        working_size: int = param(
            320,
            "longer side in px of the fused maps; time and memory grow with its square",
            at_least=16,
            at_most=16_384,
        )
        passes: int = param(2, "rounds of fusion; each brings in frames further away", at_least=0)
        from_camera: bool = param(
            False,
            "use the camera stage's depth instead of the fused prior, where there is some; where False, a motion "
            "stereo below a camera stage must compute all frames (prior.every=1)",
        )

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        if self.params.from_camera:
            self.optional = ("camera.depth", "camera.intrinsics")
            self.honours = frozenset({"intrinsics", "distortion"})  # where the camera stage does
            self.takes_sparse = True  # where the camera gives depth, the prior is not used

    def process(self, segment: Segment, fields: Fields) -> Fields:
        if "camera.depth" in fields and not self._needs_prior(segment, fields):
            return _of_camera(fields)
        import cv2

        from geoflow.geometry.depth.edge_aware import enlarge, fill, sharpen
        from geoflow.geometry.depth.fusion import DepthFuser
        from geoflow.geometry.working_size import PointMaps, WorkingSize

        frames, points, masks = fields["frames.rgb"], fields["prior.points"], fields["prior.mask"]
        known = segment.video.known_intrinsics
        intrinsics = _middle(fields["prior.intrinsics"]) if known is None else known
        height, width = frames.shape[1:3]
        size = WorkingSize.at_most(height, width, self.params.working_size)
        pictures = [size.shrink(rgb) for rgb in frames]
        # The fuser and its flows are freed before the full-size maps are made.
        fused = DepthFuser(
            [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures],
            [size.shrink_map(np.where(m, p[..., 2], 0).astype(np.float32)) for p, m in zip(points, masks)],
            size.shrink_intrinsics(intrinsics),
        ).run(self.params.passes)
        maps = PointMaps(len(frames), height, width, intrinsics)
        for i, depth in enumerate(fused):
            if depth.any():
                closed = fill(sharpen(depth, pictures[i]), pictures[i])
                maps.put(i, enlarge(closed, frames[i]))
        return _result(maps, GEOMETRY_OF_PRIOR)

    @staticmethod
    def _needs_prior(segment: Segment, fields: Fields) -> bool:
        """Return whether only the prior has depth. The prior is of a lens without distortion."""
        straight = segment.video.distortion is None
        return straight and not fields["camera.depth"].any() and bool(fields["prior.mask"].any())


def _result(maps: PointMaps, source: int) -> Fields:
    return {
        "geometry.points": maps.points,
        "geometry.mask": maps.mask,
        "geometry.intrinsics": maps.intrinsics,
        "geometry.source": np.where(maps.mask.any((1, 2)), source, GEOMETRY_OF_NOTHING).astype(np.uint8),
    }


def _middle(intrinsics: np.ndarray) -> np.ndarray:
    """Return the median (3, 3) of the known matrices among (T, 3, 3); NaN if there are none."""
    known = np.isfinite(intrinsics).all((1, 2))
    return np.median(intrinsics[known], axis=0) if known.any() else np.full((3, 3), np.nan, np.float32)


def _of_camera(fields: Fields) -> Fields:
    """Return the camera stage's depth as point maps, scaled to their median depth."""
    from geoflow.geometry.working_size import PointMaps

    depth = fields["camera.depth"]
    count, height, width = depth.shape
    maps = PointMaps(count, height, width, _middle(fields["camera.intrinsics"]))
    medians = {i: np.median(d[d > 0]) for i, d in enumerate(depth) if d.any()}
    unit = np.float32(np.median([*medians.values()])) if medians else np.float32(1)
    for i in medians:
        maps.put(i, depth[i].astype(np.float32) / unit)
    return _result(maps, GEOMETRY_OF_CAMERA)
