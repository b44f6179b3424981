"""The surface of one object that rests: a box of voxels around it, in which its depth and the free space are fused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from geoflow.geometry.rigid import apply
from geoflow.geometry.tsdf.depth_view import DepthView
from geoflow.geometry.tsdf.surface_nets import Surface, surface_of
from geoflow.geometry.tsdf.voxel_blocks import SIDE, TRUNCATION, VoxelBlocks, keys_of, pixels_of, with_neighbours

_KEPT = 400  # points of a frame from which the box is made
_OUTSIDE = 2.0  # percent of them on each side of an axis that may be wrong
_MARGIN = 0.15  # of the box's longest side, since the outermost points are left out
_NOTICED = 0.05  # of the object's radius: how far behind a point a frame must look; depth errs by less


@dataclass(frozen=True)
class ObjectBox:
    """Where an object is in the world."""

    low: np.ndarray  # (3,) scene units
    high: np.ndarray  # (3,)
    voxel: float
    frame: int  # source frame that shows most of it
    points: np.ndarray  # (K, 3) float64 world: some of each frame
    known: float  # share, 0 to 1, of the object's pixels whose depth can be fused

    @property
    def middle(self) -> np.ndarray:
        return (self.low + self.high) / 2

    @property
    def radius(self) -> float:
        """Return half of the diagonal."""
        return float(np.linalg.norm(self.high - self.low)) / 2


def box_around(views: Iterable[tuple[int, DepthView]], resolution: int) -> ObjectBox | None:
    """Return the box around the object's points in all frames, given with their source numbers; None if there are none.

    Its voxels divide the longest side into `resolution` parts.
    """
    kept, best, known, shown = [np.zeros((0, 3))], (0, -1), 0, 0
    for frame, view in views:
        points = view.world_points
        known, shown = known + len(points), shown + int(np.count_nonzero(view.surface))
        best = max(best, (len(points), -frame))
        kept.append(points[:: max(1, len(points) // _KEPT)])
    points = np.concatenate(kept)
    if not len(points):
        return None
    low, high = np.percentile(points, [_OUTSIDE, 100 - _OUTSIDE], axis=0)
    margin = _MARGIN * float((high - low).max())
    if not margin > 0:
        return None
    low, high = np.maximum(points.min(0), low - margin), np.minimum(points.max(0), high + margin)
    return ObjectBox(low, high, float((high - low).max()) / resolution, -best[1], points, known / shown)


def fuse_object(views: Iterable[DepthView], box: ObjectBox, *, close: bool) -> Surface:
    """Return the object's surface: with `close`, what no frame saw inside the box counts as filled.

    The views' `surface` are the object's pixels.
    """
    margin = TRUNCATION * box.voxel
    first, last = (np.floor(p / (SIDE * box.voxel)).astype(int) for p in (box.low - margin, box.high + margin))
    sides = [np.arange(a, b + 1) for a, b in zip(first, last)]
    inner = keys_of(np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 3))
    blocks = VoxelBlocks(with_neighbours(inner) if close else inner, box.voxel)
    for view in views:
        blocks.fuse(view)
    if close:
        blocks.clear_outside(box.low - margin, box.high + margin)
    return surface_of(blocks, close=close)


def seen_through(views: Iterable[DepthView], box: ObjectBox) -> float:
    """Return the share, 0 to 1, of the object's points through which frames look at what lies behind.

    Each point is taken in each frame in whose image it lies. Of an object that rests, no frame looks through a place
    where another frame saw it, whatever is in front of it.
    """
    through, looked = 0, 0
    for view in views:
        xyz = apply(view.cam_from_world.astype(np.float64), box.points).astype(np.float32)
        pixel, inside = pixels_of(xyz, view.intrinsics, view.depth.shape)
        free = view.free.ravel()[pixel]
        through += int(np.count_nonzero(free - xyz[inside, 2] > _NOTICED * box.radius))
        looked += int(np.count_nonzero(free))
    return through / looked if looked else 0.0
