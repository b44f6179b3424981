"""Where new points to follow are wanted: the frames, and the pixels that no living point covers."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from geoflow.segments import Segment

_PATCH = 9  # px: the window in which a point is searched, less the margin that its patch needs anyway
_SURFACE_STEP = 1.15  # ratio of depths in a patch above which it shows two surfaces
_COVERS = 0.7  # of the grid's spacing: a living point nearer than this covers a pixel


def query_frames(segment: Segment, usable: np.ndarray, every: int, default: int | None = None) -> list[int]:
    """Return the frames of a segment, counted in it, in which points are picked: rising, and only where `usable` (T,).

    With `every` above 0 they are the frames whose number in the video is a multiple of it, and that the segment before
    does not have, too. With 0 there is one in each segment: the usable frame nearest to `default`, or else the middle
    one of the usable frames. The first segment always has one.
    """
    candidates = np.flatnonzero(usable)
    if every > 0:
        own = candidates[candidates >= segment.overlap_before]
        picks = own[(segment.start + own) % every == 0]
        if len(picks) or not segment.is_first:
            return [int(t) for t in picks]
    if not len(candidates):
        return []
    if default is None:
        return [int(candidates[len(candidates) // 2])]
    return [int(candidates[np.abs(candidates - default).argmin()])]


def uncovered(points: np.ndarray, living: np.ndarray, spacing: float) -> np.ndarray:
    """Return which pixels `points` (M, 2) of a grid have no living point near: (M,) bool.

    `living` (N, 2) px may have NaN rows, for points that are not seen. `spacing` is the grid's, in px.
    """
    living = living[np.isfinite(living).all(1)]
    if not len(points) or not len(living):
        return np.ones(len(points), bool)
    distance, _ = cKDTree(living).query(points)
    return np.asarray(distance) > _COVERS * spacing


def depth_edges(depth: np.ndarray) -> np.ndarray:
    """Return the pixels of a depth map (H, W), 0 where unknown, near which two surfaces meet: (H, W) bool.

    What a patch there shows is no point of one surface, and slides when the view changes.
    """
    near = np.where(depth > 0, depth, np.inf).astype(np.float32)
    kernel = np.ones((_PATCH, _PATCH), np.uint8)
    low, high = cv2.erode(near, kernel), cv2.dilate(depth.astype(np.float32), kernel)
    with np.errstate(over="ignore"):  # nothing known around
        return np.asarray(high > _SURFACE_STEP * low)


def value_at(maps: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Return the values of a map (H, W) at the pixels nearest to `uv` (N, 2), which lie inside or are NaN: (N,)."""
    height, width = maps.shape
    column, row = np.rint(np.nan_to_num(uv)).astype(int).reshape(-1, 2).T
    return np.asarray(maps[row.clip(0, height - 1), column.clip(0, width - 1)])
