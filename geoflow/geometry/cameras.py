"""Pinhole cameras: OpenCV axes, pixel centres at integer coordinates."""

from __future__ import annotations

import numpy as np

USUAL_FOCAL = 0.8  # of the longer side


def pixel_grid(height: int, width: int) -> np.ndarray:
    """Pixel coordinates u, v: (H, W, 2) float32.

    >>> pixel_grid(2, 3)[1, 2]
    array([2., 1.], dtype=float32)
    """
    grid = np.empty((height, width, 2), np.float32)
    grid[..., 0], grid[..., 1] = np.arange(width), np.arange(height)[:, None]
    return grid


def pinhole(focal_px: float, height: int, width: int) -> np.ndarray:
    """Square-pixel pinhole matrix with a central principal point: (3, 3) float32.

    >>> pinhole(100.0, 48, 64)[0]
    array([100. ,   0. ,  31.5], dtype=float32)
    """
    return np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]], np.float32)


def assumed_intrinsics(height: int, width: int) -> np.ndarray:
    """Return intrinsics for an unknown camera: 64 degrees of view along the longer side, about a phone's video."""
    return pinhole(USUAL_FOCAL * max(height, width), height, width)


def pinhole_matrix(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    """Return the pinhole matrix without skew: (3, 3) float64.

    >>> pinhole_matrix(100, 90, 31.5, 23.5)[1]
    array([ 0. , 90. , 23.5])
    """
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)


def resize_intrinsics(
    intrinsics: np.ndarray, factor_x: float, factor_y: float, dtype: type[np.floating] = np.float32
) -> np.ndarray:
    """Return pinhole matrices (..., 3, 3) of the resized image, in `dtype`.

    Pixel centres are at integers, so the corners scale: c' = (c + 0.5) * factor - 0.5.

    >>> resize_intrinsics(np.array([[100.0, 0, 63.5], [0, 100.0, 47.5], [0, 0, 1]]), 0.5, 0.5)[0]
    array([50. ,  0. , 31.5], dtype=float32)
    """
    out = np.array(intrinsics, np.float64)
    out[..., 0, :2] *= factor_x
    out[..., 1, 1] *= factor_y
    out[..., 0, 2] = (out[..., 0, 2] + 0.5) * factor_x - 0.5
    out[..., 1, 2] = (out[..., 1, 2] + 0.5) * factor_y - 0.5
    return out.astype(dtype)


def unproject(depth: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Depth map to point map in the camera frame: (..., H, W) and (..., 3, 3) to (..., H, W, 3) float32.

    Invalid depth (0) gives the point 0.
    """
    depth = np.asarray(depth, np.float32)
    height, width = depth.shape[-2:]
    rays = pixel_rays(pixel_grid(height, width), intrinsics)
    return rays * depth[..., None]


def pixel_rays(uv: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Rays with z = 1 through pixels: (..., N, M, 2) and (..., 3, 3) to (..., N, M, 3) float32."""
    k = np.asarray(intrinsics, np.float32)[..., None, None, :, :]
    y = (uv[..., 1] - k[..., 1, 2]) / k[..., 1, 1]
    x = (uv[..., 0] - k[..., 0, 2] - k[..., 0, 1] * y) / k[..., 0, 0]
    return np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float32)


def project(xyz: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Camera-frame points (..., 3) to pixels (..., 2); NaN for points at or behind the camera."""
    xyz = np.asarray(xyz)
    z = np.where(xyz[..., 2] > 1e-9, xyz[..., 2], np.nan)
    k = np.asarray(intrinsics, xyz.dtype)
    x, y = xyz[..., 0] / z, xyz[..., 1] / z
    return np.stack([k[0, 0] * x + k[0, 1] * y + k[0, 2], k[1, 1] * y + k[1, 2]], axis=-1)
