"""Pixels of a frame: an even sample, depth between pixels, and their places in space."""

from __future__ import annotations

import numpy as np

from geoflow.geometry.cameras import pixel_rays

_ONE_SURFACE = 1.03  # neighbours whose depths differ by less lie on one surface


def sample_grid(height: int, width: int, most: int) -> np.ndarray:
    """Return the flat numbers of at most about `most` pixels, evenly spread.

    One pixel of every square cell, at an arbitrary place in it, and always the same ones. A regular grid could miss
    everything that lies in a pattern, such as a truth on even rows and columns only.
    """
    cell = max(1, int(np.ceil(np.sqrt(height * width / most))))
    v, u = np.mgrid[0:height:cell, 0:width:cell]
    if cell > 1:
        down, right = np.random.default_rng(0).integers(0, cell, (2, *v.shape))
        v, u = np.minimum(v + down, height - 1), np.minimum(u + right, width - 1)
    return (v * width + u).ravel()


def depth_between(depth: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Return depth (N,) of a map (H, W) at places uv (N, 2) px inside it; 0 where unknown.

    The inverse of the depth, which is linear on planes, is interpolated if the four neighbours are known and lie on one
    surface. Elsewhere, for instance at silhouettes, the nearest pixel counts.
    """
    height, width = depth.shape
    corner = np.clip(np.floor(uv).astype(int), 0, [max(width - 2, 0), max(height - 2, 0)])
    x, y = np.clip(uv - corner, 0, 1).T
    flat, first = depth.ravel(), corner[:, 1] * width + corner[:, 0]
    near = np.stack([flat[first], flat[first + 1], flat[first + width], flat[first + width + 1]]).astype(np.float64)
    low = near.min(0)
    smooth = (low > 0) & (near.max(0) < _ONE_SURFACE * low)
    inverse = 1 / np.where(smooth, near, 1)
    top, bottom = inverse[0] * (1 - x) + inverse[1] * x, inverse[2] * (1 - x) + inverse[3] * x
    u, v = np.clip(np.rint(uv).astype(int), 0, [width - 1, height - 1]).T
    return np.where(smooth, 1 / (top * (1 - y) + bottom * y), flat[v * width + u])


def lift(depth: np.ndarray, pixels: np.ndarray, width: int, intrinsics: np.ndarray) -> np.ndarray:
    """Points (N, 3) float32, camera frame, of pixels with these flat numbers (N,) and depths (N,)."""
    uv = np.stack([pixels % width, pixels // width], axis=-1).astype(np.float32)
    return pixel_rays(uv[None], intrinsics)[0] * depth[:, None]
