"""Collecting a reconstruction into whole float16 arrays, as they are passed between stages, chunk by chunk."""

from __future__ import annotations

from typing import Any

import numpy as np

from geoflow.geometry.cameras import unproject
from geoflow.models.geometrycrafter.field_of_view import make_intrinsics, make_points
from geoflow.models.geometrycrafter.reconstruction import Reconstruction
from geoflow.models.half_range import HALF_MAX, arrays_in_half

LEAST_VALID = 1e-3  # with a smaller share of valid pixels, neither depth nor focal length can be determined

Maps = tuple[np.ndarray, np.ndarray, np.ndarray]


def collect_in_half(
    found: Reconstruction, num_frames: int, size: tuple[int, int], known: np.ndarray | None = None
) -> Maps | None:
    """Return points (T, H, W, 3) float16, mask (T, H, W) bool and intrinsics (T, 3, 3) float32 of frames of a size.

    None if hardly a pixel is valid. Points are 0 outside the mask. `known` is a camera (3, 3) in px, which replaces the
    field of view that the networks find. Depth and mask are stored first, and depth is converted to points in place,
    because the field of view may be known only at the end.
    """
    points = np.zeros((num_frames, *size, 3), np.float16)
    mask = np.zeros((num_frames, *size), bool)
    intrinsics = np.zeros((num_frames, 3, 3), np.float32)
    views: list[tuple[slice, Any]] = []
    for chunk in found:
        part = slice(chunk.start, chunk.start + len(chunk.depth))
        mask[part] = chunk.mask & (chunk.depth > 0) & (chunk.depth < HALF_MAX)  # NaN is neither
        points[part, ..., 2] = np.where(mask[part], chunk.depth, 0)
        views.append((part, chunk.diagonal))
    told = mask.mean((1, 2)) >= LEAST_VALID
    if not told.any():
        return None
    for part, diagonal in views:
        depth = points[part, ..., 2].astype(np.float32)
        if known is not None:
            intrinsics[part], xyz = known, unproject(depth, known)
        else:
            diagonal = found.diagonal if diagonal is None else diagonal
            per_frame = diagonal if np.ndim(diagonal) < 3 else np.mean(diagonal, axis=(1, 2))
            intrinsics[part], xyz = make_intrinsics(per_frame, *size), make_points(depth, diagonal)
        points[part], mask[part] = arrays_in_half(xyz, mask[part])
    intrinsics[~told] = np.median(intrinsics[told], axis=0)  # not known for frames without valid pixels
    return points, mask, intrinsics
