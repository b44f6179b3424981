"""The range of float16, in which point maps are passed and stored. Works on torch tensors without importing torch."""

from __future__ import annotations

from typing import Any

import numpy as np

HALF_MAX = 6e4  # float16 ends at 65504; larger values than this are not valid


def within_half(points: Any, mask: Any) -> Any:
    """Return the mask (..., H, W) of points (..., H, W, 3) that float16 can hold; both are tensors, on any device.

    A point stays valid if it is in the mask, finite and in front of the camera, and no coordinate is beyond HALF_MAX.
    """
    return mask & (points[..., 2] > 0) & (points.abs().amax(-1) < HALF_MAX)  # NaN is neither


def depth_in_half(depth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return depth as float16, 0 where it is not known or beyond the range."""
    with np.errstate(invalid="ignore"):
        return np.where(known & (depth > 0) & (depth < HALF_MAX), depth, 0).astype(np.float16)


def points_in_half(points: Any, mask: Any) -> tuple[Any, Any]:
    """Return points (..., H, W, 3) as float16, 0 where they are not valid, and the mask (..., H, W) of the valid ones.

    Besides the points that `within_half` leaves out, points are not valid if float16 rounds their depth to 0. Points
    with a free scale may be scaled first, so that they lie within the range.
    """
    within = within_half(points, mask)
    packed = points.masked_fill(~within[..., None], 0).half()
    within = within & (packed[..., 2] > 0)
    return packed.masked_fill(~within[..., None], 0), within


def arrays_in_half(points: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points (..., H, W, 3) as float16 and the mask (..., H, W) as `points_in_half` does, for arrays."""
    within = mask & (points[..., 2] > 0) & (np.abs(points).max(-1) < HALF_MAX)
    packed = np.where(within[..., None], points, np.float32(0)).astype(np.float16)
    within = within & (packed[..., 2] > 0)
    packed[~within] = 0
    return packed, within
