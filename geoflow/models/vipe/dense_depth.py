"""Depth of every frame: a prior's, brought to what the keyframes around the frame know."""

from __future__ import annotations

import numpy as np

from geoflow.errors import InputError
from geoflow.fields import DEPTH_ALIGNED, DEPTH_CONTRARY, DEPTH_FLAT, DEPTH_SCALED, DEPTH_UNSEEN
from geoflow.models.vipe.depth_align import Affine, SteadyAffine, fit_inverse_depth

_LEAST_POINTS = 50  # of keyframes, in a frame
_LEAST_DEPTH = 1e-6  # in the poses' unit
_LEAST_RELIEF = 0.1  # of the prior in parts of the tracker's, and the other way round
_FLAT = 0.02  # of what the tracker sees, below which a prior is scaled, and not shifted
_FARTHEST = 20.0  # aligned depth, in parts of the farthest keyframe point that the frame shows


def world_points(
    depth: np.ndarray, uv: np.ndarray, intrinsics: np.ndarray, cam_from_world: np.ndarray
) -> list[np.ndarray]:
    """Return the points (N, 3) that each keyframe knows, in the world.

    depth (K, h, w), 0 where unknown; uv (h, w, 2) the pixels of its maps; intrinsics (3, 3); cam_from_world (K, 4, 4).
    """
    rays = np.concatenate((uv, np.ones_like(uv[..., :1])), -1) @ np.linalg.inv(intrinsics).T
    found = []
    for one, pose in zip(depth, cam_from_world):
        known = one > 0
        points = rays[known] * one[known][:, None]
        found.append((points - pose[:3, 3]) @ pose[:3, :3])
    return found


def seen_depth(
    points: np.ndarray, intrinsics: np.ndarray, cam_from_world: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Return the depth map (H, W) that world points (N, 3) make in a frame, 0 where there is none, else the nearest."""
    height, width = size
    local = points @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]
    local = local[local[:, 2] > _LEAST_DEPTH]
    pixels = local @ intrinsics.T
    u, v = (np.rint(pixels[:, k] / pixels[:, 2]) for k in (0, 1))
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    place = (v[inside] * width + u[inside]).astype(np.int64)
    nearest = np.full(height * width, np.inf)
    np.minimum.at(nearest, place, local[inside, 2])
    return np.where(np.isfinite(nearest), nearest, 0).reshape(height, width)


class PriorDepth:
    """Brings the prior's depth of a segment's frames to their keyframes', one frame after the other."""

    def __init__(self, momentum: float) -> None:
        self._steady = SteadyAffine(momentum)

    def aligned(
        self, prior: np.ndarray, known: np.ndarray, ignored: np.ndarray | None = None
    ) -> tuple[np.ndarray | None, int]:
        """Return the aligned depth (H, W), 0 where unknown, of a prior (H, W) and known depth (H, W), both 0 likewise.

        It is None if the two do not go together, and the code of `camera.depth_source` says why: too few pixels have
        both, the prior has no relief where the tracker sees some, or what it has is the wrong way round. Depth far
        behind everything that is known is unknown.
        """
        both = (known > 0) & (prior > 0)
        if ignored is not None:
            both &= ~ignored
        if both.sum() < _LEAST_POINTS:
            return None, DEPTH_UNSEEN
        inverse = np.divide(1, prior, out=np.zeros(prior.shape), where=prior > 0)
        seen, said = _relief(1 / known[both]), _relief(inverse[both])
        if seen < _FLAT and said < _FLAT / _LEAST_RELIEF:  # a wall: its distance is known, but nothing tells a shift
            return prior * float(np.median(known[both] / prior[both])), DEPTH_SCALED
        if said < _LEAST_RELIEF * seen:
            return None, DEPTH_FLAT
        if seen < _LEAST_RELIEF * said:
            return None, DEPTH_CONTRARY
        try:
            found = self._steady.follow(_rising(fit_inverse_depth(inverse[both], known[both])))
        except InputError:
            return None, DEPTH_CONTRARY
        depth = found.depth(inverse, 1 / (_FARTHEST * float(known[both].max())))
        return np.where(prior > 0, depth, 0), DEPTH_ALIGNED


def _relief(inverse: np.ndarray) -> float:
    """Return how much inverse depths differ, in parts of their median, without the outermost tenths."""
    low, middle, high = np.quantile(inverse, (0.1, 0.5, 0.9))
    return float((high - low) / middle)


def _rising(found: Affine) -> Affine:
    """Return a fit. Raises InputError if it turns near and far round."""
    if not found.scale > 0:
        raise InputError("the prior's near is far")
    return found
