"""Correspondences: the same surface point in several frames, by true depth and poses."""

from __future__ import annotations

import numpy as np

from geoflow.evaluate.pixels import depth_between
from geoflow.evaluate.truth import TrueFrame

_SAME_SURFACE = 0.01  # relative difference of depth; measured depth of one surface is about this precise


def matches(a: TrueFrame, b: TrueFrame, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pixels of frame a (flat numbers, chosen from `pixels` (N,)) whose static points frame b sees, too.

    Also return where these points are in b (N, 2) px, and their depth there (N,).

    Points are carried by true depth and poses. A point is kept if the true depth at the nearest pixel of b agrees
    within 1 percent: then it is the same surface, not an occluder. None if either frame has no pose.
    """
    points = a.points(pixels)
    if points is None or not (a.located and b.located):
        return np.zeros(0, int), np.zeros((0, 2)), np.zeros(0)
    height, width = a.depth.shape
    in_b = b.cam_from_world @ np.linalg.inv(a.cam_from_world)
    xyz = points @ in_b[:3, :3].T + in_b[:3, 3]
    z = xyz[:, 2]
    ahead = (z > 0) & a.valid.ravel()[pixels] & ~a.moving.ravel()[pixels]
    uv = (xyz @ b.intrinsics.T)[:, :2] / np.where(ahead, z, 1)[:, None]
    u, v = (np.rint(uv[:, k].clip(-1, width + height)).astype(int) for k in range(2))
    inside = ahead & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    target = np.where(inside, v * width + u, 0)
    kept = (
        inside
        & (np.abs(b.depth.ravel()[target] / np.where(ahead, z, 1) - 1) < _SAME_SURFACE)
        & ~b.moving.ravel()[target]
    )
    return pixels[kept], uv[kept], z[kept]


def true_world_points(frame: TrueFrame, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return world positions (N, 3) of the surfaces seen at pixels uv (N, 2), and which are static (N,) bool.

    They are NaN and False outside the image, where the depth is unknown, and in a frame without a pose.
    """
    if not frame.located:
        return np.full((len(uv), 3), np.nan), np.zeros(len(uv), bool)
    height, width = frame.depth.shape
    known = np.isfinite(uv).all(1)
    place = np.where(known[:, None], uv, 0)
    inside = known & (place >= -0.5).all(1) & (place[:, 0] < width - 0.5) & (place[:, 1] < height - 0.5)
    place = np.where(inside[:, None], place, 0)
    z = depth_between(frame.depth, place)
    rays = np.linalg.solve(frame.intrinsics, np.column_stack([place, np.ones(len(place))]).T).T
    world_from_cam = np.linalg.inv(frame.cam_from_world)
    xyz = (rays * z[:, None]) @ world_from_cam[:3, :3].T + world_from_cam[:3, 3]
    u, v = np.clip(np.rint(place).astype(int), 0, [width - 1, height - 1]).T
    static = inside & (z > 0) & ~frame.moving[v, u]
    return np.where(static[:, None], xyz, np.nan), static
