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


def pickable(
    pixels: np.ndarray,
    living: np.ndarray,
    spacing: float | np.ndarray,
    depth: np.ndarray,
    label: np.ndarray | None,
    *,
    mask: np.ndarray | None = None,
    objects_only: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return those of a grid's pixels (M, 2) at which points may begin, and the objects (M,) uint8 that they show.

    They have no living point near (`uncovered`), `depth` (H, W) above 0, and lie outside `mask` (H, W) and, if only
    these are wanted, on objects of `label` (H, W).
    """
    pixels = pixels[uncovered(pixels, living, spacing)]
    pixels = pixels[value_at(depth, pixels) > 0]
    if mask is not None:
        pixels = pixels[~value_at(mask, pixels)]
    objects = np.zeros(len(pixels), np.uint8) if label is None else value_at(label, pixels)
    keep = objects > 0 if objects_only else slice(None)
    return pixels[keep], objects[keep]


def uncovered(points: np.ndarray, living: np.ndarray, spacing: float | np.ndarray) -> np.ndarray:
    """Return which pixels `points` (M, 2) of a grid have no living point near: (M,) bool.

    `living` (N, 2) px may have NaN rows, for points that are not seen. `spacing` is the grid's in px, one number or
    those of x and y.
    """
    living = living[np.isfinite(living).all(1)]
    if not len(points) or not len(living):
        return np.ones(len(points), bool)
    distance, _ = cKDTree(living / spacing).query(points / spacing)
    return np.asarray(distance) > _COVERS


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
