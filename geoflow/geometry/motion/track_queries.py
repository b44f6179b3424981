"""Where new points to follow are wanted: the frames, and the pixels that no living point covers."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from geoflow.segments import Segment

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


def value_at(maps: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Return the values of a map (H, W) at the pixels nearest to `uv` (N, 2), which lie inside: (N,)."""
    height, width = maps.shape
    column, row = np.rint(uv).astype(int).T if len(uv) else np.zeros((2, 0), int)
    return np.asarray(maps[row.clip(0, height - 1), column.clip(0, width - 1)])
