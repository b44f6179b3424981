"""A lens's distortion, forwards and back: OpenCV's five coefficients k1, k2, p1, p2, k3 (Brown 1966)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoflow.geometry.cameras import pixel_grid

_ITERATIONS = 20  # of Newton's method; a few are enough for most lenses, more for strong distortion
_SAMPLES = 33  # samples of the picture per side, to judge a lens
_SETTLED = 1e-9  # of a ray's slope


def distort(rays: np.ndarray, distortion: Sequence[float]) -> np.ndarray:
    """Return where rays (..., 2) with z = 1 are seen, as slopes (..., 2) float64 of the distorted picture."""
    k1, k2, p1, p2, k3 = distortion
    x, y = np.asarray(rays, np.float64)[..., 0], np.asarray(rays, np.float64)[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        -1,
    )


def undistort(seen: np.ndarray, distortion: Sequence[float]) -> np.ndarray:
    """Return the rays (..., 2) float64 with z = 1 that are seen at slopes (..., 2); NaN if there is no ray.

    Uses Newton's method: OpenCV's own fixed-point iteration stops after five steps. NaN input stays NaN.
    """
    k1, k2, p1, p2, k3 = distortion
    seen = np.asarray(seen, np.float64)
    rays = seen.copy()
    for _ in range(_ITERATIONS):
        x, y = rays[..., 0], rays[..., 1]
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        slope = 2 * (k1 + r2 * (2 * k2 + 3 * k3 * r2))  # of `radial`, over x or y
        xx = radial + slope * x * x + 2 * p1 * y + 6 * p2 * x
        yy = radial + slope * y * y + 6 * p1 * y + 2 * p2 * x
        xy = slope * x * y + 2 * p1 * x + 2 * p2 * y
        off = distort(rays, distortion) - seen
        with np.errstate(divide="ignore", invalid="ignore"):
            det = xx * yy - xy * xy
            step = (
                np.stack([yy * off[..., 0] - xy * off[..., 1], xx * off[..., 1] - xy * off[..., 0]], -1)
                / det[..., None]
            )
        rays = rays - np.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0)
        if np.nanmax(np.abs(step), initial=0.0) < _SETTLED:
            break
    lost = ~(np.abs(distort(rays, distortion) - seen).max(-1) < 1e-6)
    return np.where(lost[..., None], np.nan, rays)


def straighten(uv: np.ndarray, intrinsics: np.ndarray, distortion: Sequence[float]) -> np.ndarray:
    """Return pixels (..., 2) of the distorted picture as a pinhole camera (3, 3) sees them: (..., 2) float64 px."""
    focal, centre = np.diag(intrinsics)[:2].astype(np.float64), intrinsics[:2, 2].astype(np.float64)
    return undistort((np.asarray(uv, np.float64) - centre) / focal, distortion) * focal + centre


def bends_back(pinhole: Sequence[float], distortion: Sequence[float], width: int, height: int) -> bool:
    """Return whether every pixel of a picture has exactly one ray: on the way out, rays and pixels both move out."""
    fx, fy, cx, cy = pinhole
    u, v = np.linspace(-0.5, width - 0.5, _SAMPLES), np.linspace(-0.5, height - 0.5, _SAMPLES)
    seen = np.stack(np.meshgrid((u - cx) / fx, (v - cy) / fy), -1).reshape(-1, 2)
    rays = undistort(seen, distortion)
    if not np.isfinite(rays).all():
        return False
    way = np.linalg.norm(distort(np.linspace(0, 1, _SAMPLES)[:, None, None] * rays, distortion), axis=-1)
    return bool((np.diff(way, axis=0) >= -1e-9).all())


def nearest_pinhole(intrinsics: np.ndarray, distortion: Sequence[float], height: int, width: int) -> np.ndarray:
    """Return the pinhole matrix (3, 3) float32 nearest to a distorted camera, by least squares over the pixels."""
    uv = pixel_grid(height, width)[:: max(1, height // 64), :: max(1, width // 64)].reshape(-1, 2).astype(np.float64)
    focal, centre = np.diag(intrinsics)[:2].astype(np.float64), intrinsics[:2, 2].astype(np.float64)
    rays = undistort((uv - centre) / focal, distortion)
    known = np.isfinite(rays).all(1)
    nearest = np.eye(3, dtype=np.float32)
    for axis in (0, 1):
        sides = np.stack([rays[known, axis], np.ones(known.sum())], 1)
        nearest[axis, axis], nearest[axis, 2] = np.linalg.lstsq(sides, uv[known, axis], rcond=None)[0]
    return nearest
