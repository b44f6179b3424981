"""Motion stereo: a point map for every frame, from the frames alone, on a CPU and without a network.

The mathematics is in `geoflow/geometry/depth/two_view.py`; here frames are scaled to its working size and back.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from geoflow.fields import DOUBT_FAR_OFF, DOUBT_UNMATCHED, MOTION_MOVING
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param


class MotionStereo(Stage):
    """Depth from optical flow to two neighbour frames, with its own scale for every frame (median depth 1).

    It works if a moving camera films a scene that stands still. Where the camera stands still or only turns, on things
    that move by themselves, and where the views do not tell what is near and what is far, the mask is False; the focal
    length is then only the most likely one.

    Where a camera stage above gives a frame's pose and depth, the prior only judges that depth: it is computed for one
    such frame in `every`, with the camera's intrinsics, and the others have mask False. The camera's poses and depth
    are not used, so that the judge stays independent of them; but if most frames agree with the camera, those in which
    near and far are reversed have mask False. Where the camera stage says that the camera does not move, or that near
    and far cannot be told apart, there is no prior.
    """

    slot = "prior"
    depth_at_rest = True
    inputs = ("frames.rgb",)
    optional = ("frames.mask", "camera.intrinsics", "camera.depth", "camera.valid", "camera.motion", "camera.doubt")
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")
    version = "6"
    honours = frozenset({"intrinsics"})

    @dataclass(frozen=True)
    class Params(Stage.Params):
        working_size: int = param(
            320,
            "longer side in px of the images for optical flow; time grows with its square",
            at_least=16,
            at_most=16_384,
        )
        every: int = param(
            10,
            "of the frames with pose and depth of a camera stage above, compute one in so many, at least 2 of a "
            "segment; 1: all. A stage below that fuses the prior of all frames needs 1",
            at_least=1,
        )

    def sparse(self, given: Collection[str]) -> str:
        judges = self.params.every > 1 and {"camera.depth", "camera.valid"} <= set(given)
        return "every=1" if judges else ""

    def process(self, segment: Segment, fields: Fields) -> Fields:
        import cv2

        from geoflow.geometry.depth.edge_aware import enlarge
        from geoflow.geometry.depth.order_vote import contradicting
        from geoflow.geometry.depth.two_view import MotionStereoSolver
        from geoflow.geometry.working_size import PointMaps, WorkingSize

        frames = fields["frames.rgb"]
        height, width = frames.shape[1:3]
        size = WorkingSize.at_most(height, width, self.params.working_size)
        pictures = [size.shrink(rgb) for rgb in frames]
        masks = fields.get("frames.mask")
        known, served = segment.video.known_intrinsics, _served(fields)
        if known is None:
            known = _lens(fields, served)
        excluded = _excluded(fields) & ~served
        if excluded.all():
            return _nothing(height, width, len(frames), known)
        solver = MotionStereoSolver(
            [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures],
            None if known is None else size.shrink_intrinsics(known),
            None if masks is None else [size.shrink_map(mask) for mask in masks],
            moving=bool(served.any()) or "camera.doubt" in fields,
        )
        depths = solver.depths(solver.survey.thinned(served, self.params.every) & ~excluded)
        judged = {i: size.shrink_map(fields["camera.depth"][i].astype(np.float32)) for i in depths if served[i]}
        intrinsics = size.enlarge_intrinsics(solver.intrinsics) if known is None else known
        maps = PointMaps(len(frames), height, width, intrinsics)
        for i in depths.keys() - contradicting(depths, judged):
            full = enlarge(depths[i], frames[i])
            maps.put(i, full if masks is None else np.where(masks[i], np.float32(0), full))
        return {"prior.points": maps.points, "prior.mask": maps.mask, "prior.intrinsics": maps.intrinsics}


def _served(fields: Fields) -> np.ndarray:
    """Return which frames (T,) have pose and depth of the camera stage."""
    if "camera.depth" not in fields or "camera.valid" not in fields:
        return np.zeros(len(fields["frames.rgb"]), bool)
    return fields["camera.valid"] & (fields["camera.depth"] > 0).any((1, 2))


def _excluded(fields: Fields) -> np.ndarray:
    """Return the frames (T,) for which the camera stage says why two views give no depth either.

    A camera that moves, but whose points belong to no structure, is no such reason.
    """
    if "camera.motion" not in fields:
        return np.zeros(len(fields["frames.rgb"]), bool)
    if "camera.doubt" in fields:
        return ~np.isin(fields["camera.doubt"], (DOUBT_UNMATCHED, DOUBT_FAR_OFF))
    return fields["camera.motion"] != MOTION_MOVING


def _nothing(height: int, width: int, count: int, known: np.ndarray | None) -> Fields:
    """Return point maps without a point."""
    from geoflow.geometry.cameras import assumed_intrinsics
    from geoflow.geometry.working_size import PointMaps

    maps = PointMaps(count, height, width, assumed_intrinsics(height, width) if known is None else known)
    return {"prior.points": maps.points, "prior.mask": maps.mask, "prior.intrinsics": maps.intrinsics}


def _lens(fields: Fields, served: np.ndarray) -> np.ndarray | None:
    """Return the median pinhole matrix (3, 3) of the frames that the camera stage served; None if there are none."""
    if "camera.intrinsics" not in fields:
        return None
    known = fields["camera.intrinsics"][served]
    known = known[np.isfinite(known).all((1, 2))]
    return np.median(known, axis=0).astype(np.float32) if len(known) else None
