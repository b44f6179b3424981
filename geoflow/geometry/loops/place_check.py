"""Whether two places are one: their features, depth and small pictures must agree on one motion between the cameras.

A place that only looks alike is refused: a poster that hangs twice has its features in both, but other things around.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from geoflow.geometry.loops.places import SeenPlace, thumb_grid

_LEAST = 24  # matches that agree with one motion
_SHARE = 0.5  # of the matches, that do
_ERROR = 0.006  # of the picture's longer side, as far as a match may be off
_SPREAD = 0.06  # of the picture's area, which the matches enclose
_DEPTH_SCATTER = 0.1  # median deviation of log depth, once both are in one unit
_SEEN = 0.2  # of the first's small picture, which the second shows, too
_SAME_DEPTH, _AGREE = 0.15, 0.6  # of log depth; share of what both show
_ALIKE = 0.4  # correlation of what both show


@dataclass(frozen=True)
class PlaceSight:
    """The first's camera seen from the second: x_second = (R x_first + t) / unit, each in its own unit."""

    motion: np.ndarray  # (4, 4), in the first's unit
    unit: float  # of the second, in the first's
    points: int  # matches that agree
    error_px: float  # of these, the median


def check(first: SeenPlace, second: SeenPlace, intrinsics: np.ndarray) -> PlaceSight | None:
    """Return how two places lie to each other; None unless they are one place. intrinsics (3, 3) are the second's."""
    from geoflow.geometry.motion.picture_features import match

    rows = match(first.descriptor.astype(np.float32), second.descriptor.astype(np.float32))
    if len(rows) < _LEAST:
        return None
    xyz, uv = first.xyz[rows[:, 0]].astype(np.float64), second.uv[rows[:, 1]].astype(np.float64)
    limit = max(1.5, _ERROR * max(second.size))
    found = _motion(xyz, uv, intrinsics, limit)
    if found is None:
        return None
    motion, inlier, error = found
    if inlier.sum() < max(_LEAST, _SHARE * len(rows)):
        return None
    if min(_enclosed(first.uv[rows[inlier, 0]], first.size), _enclosed(uv[inlier], second.size)) < _SPREAD:
        return None
    ahead = (xyz[inlier] @ motion[:3, :3].T + motion[:3, 3])[:, 2]
    ratio = np.log(ahead / second.xyz[rows[inlier, 1], 2])
    if np.median(np.abs(ratio - np.median(ratio))) > _DEPTH_SCATTER:
        return None
    unit = float(np.exp(np.median(ratio)))
    if not _looks_the_same(first, second, intrinsics, motion, unit):
        return None
    return PlaceSight(motion, unit, int(inlier.sum()), float(np.median(error[inlier])))


def _motion(
    xyz: np.ndarray, uv: np.ndarray, intrinsics: np.ndarray, limit: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return the motion (4, 4), which matches (N,) agree with it, and how far each is off in px; None if there is
    none."""
    lens = intrinsics.astype(np.float64)
    try:
        good, turn, shift, inlier = cv2.solvePnPRansac(
            xyz, uv, lens, None, iterationsCount=300, reprojectionError=limit, confidence=0.999, flags=cv2.SOLVEPNP_EPNP
        )
        if not good or inlier is None or len(inlier) < _LEAST:
            return None
        kept = inlier.ravel()
        turn, shift = cv2.solvePnPRefineLM(xyz[kept], uv[kept], lens, None, turn, shift)
    except cv2.error:  # points in one place have no motion
        return None
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = cv2.Rodrigues(turn)[0], shift.ravel()
    moved = xyz @ motion[:3, :3].T + motion[:3, 3]
    seen = moved @ lens.T
    error = np.linalg.norm(seen[:, :2] / np.where(moved[:, 2:] > 0, moved[:, 2:], np.nan) - uv, axis=1)
    return motion, error < limit, error


def _enclosed(uv: np.ndarray, size: tuple[int, int]) -> float:
    """Return the share of a picture that points (N, 2) px enclose."""
    hull = cv2.convexHull(uv.astype(np.float32))
    return float(cv2.contourArea(hull)) / (size[0] * size[1])


def _looks_the_same(
    first: SeenPlace, second: SeenPlace, intrinsics: np.ndarray, motion: np.ndarray, unit: float
) -> bool:
    """Return whether the first's small picture, moved to the second, shows what the second shows there."""
    z, u, v, inside = _carried(first, second, intrinsics, motion)
    if inside.mean() < _SEEN:
        return False
    own = second.depth[v[inside], u[inside]].astype(np.float64)
    known = own > 0
    if known.sum() < _SEEN * inside.size / 2:
        return False
    gap = np.abs(np.log(z[inside][known] / unit / own[known]))
    if (gap < _SAME_DEPTH).mean() < _AGREE:
        return False
    visible = np.flatnonzero(inside)[known][gap < _SAME_DEPTH]
    one = first.gray[first.depth > 0].astype(np.float64)[visible]
    other = second.gray[v[visible], u[visible]].astype(np.float64)
    spread = one.std() * other.std()
    return bool(spread > 0 and ((one - one.mean()) * (other - other.mean())).mean() / spread >= _ALIKE)


def _carried(
    first: SeenPlace, second: SeenPlace, intrinsics: np.ndarray, motion: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return for the first's small pixels with depth: depth in the second, its small pixel, and whether it lies there.

    Both frames have one size, and the lens of the second is taken for both.
    """
    down, across = thumb_grid(first.depth.shape, first.size)
    rows, columns = np.nonzero(first.depth > 0)
    z = first.depth[rows, columns].astype(np.float64)
    rays = np.stack((across[columns], down[rows], np.ones(len(rows))), 1) @ np.linalg.inv(intrinsics).T
    moved = (rays * z[:, None]) @ motion[:3, :3].T + motion[:3, 3]
    ahead = np.maximum(moved[:, 2], 1e-9)
    seen = moved @ intrinsics.T.astype(np.float64) / ahead[:, None]
    height, width = second.depth.shape
    u = np.floor((seen[:, 0] + 0.5) * width / second.size[1])
    v = np.floor((seen[:, 1] + 0.5) * height / second.size[0])
    inside = (moved[:, 2] > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    return moved[:, 2], np.where(inside, u, 0).astype(int), np.where(inside, v, 0).astype(int), inside
