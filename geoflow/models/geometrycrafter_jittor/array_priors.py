"""The networks' inputs from a per-frame prior, on arrays: what `geometrycrafter.priors` computes with PyTorch.

Point maps are (N, H, W, 3) float32 (x right, y down, z forward) at any one scale per video, masks (N, H, W) bool. A
survey of the whole video gives its scale and its range of disparity; then each frame is mapped. Invalid pixels count as
the networks were trained with them, except where their point is not finite or not in front of the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.geometry.cameras import USUAL_FOCAL
from geoflow.models.geometrycrafter.prior_statistics import MIN_DEPTH, PriorStatistics, disparity_ranks
from geoflow.models.geometrycrafter_jittor.resampling import Size, bilinear, log_bilinear

_TINY = np.float32(1e-7)
_ONE, _ZERO = np.float32(1), np.float32(0)


def survey_rows(points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a row of each frame, (N, 5) float64, as `prior_statistics.statistics_of` takes them."""
    count, pixels = len(points), points[0, ..., 0].size
    z, flat = points[..., 2].reshape(count, -1), mask.reshape(count, -1)
    wrong = (flat & ~_usable(points).reshape(count, -1)).sum(1)
    # Disparity falls with z and is 0 where invalid, that is at infinity: its ranks are those of z, upside down.
    far = np.where(flat & ~np.isnan(z), z, np.float32(np.inf))
    ranks = [pixels - 1 - rank for rank in disparity_ranks(pixels)]
    ordered = np.partition(far, sorted(set(ranks)), axis=1)
    total = np.where(flat, z, _ZERO).sum(1, dtype=np.float64)
    return np.stack([total, flat.sum(1), *(ordered[:, rank] for rank in ranks), wrong], axis=1).astype(np.float64)


@dataclass(frozen=True)
class PriorMaps:
    """The prior of some frames as the encoders see it, float32."""

    disparity: np.ndarray  # (N, 1, H, W), -1..1
    mask: np.ndarray  # (N, 1, H, W), -1 invalid, 1 valid; in between after resizing
    log_depth: np.ndarray  # (N, 1, H, W), 0 at the video's mean and where invalid
    intrinsics: np.ndarray  # (N, 4): principal point and tangents of half the field of view, x and y each

    @property
    def diagonal(self) -> np.ndarray:
        """Tangent of half the diagonal field of view, (N,): all that the networks see of the intrinsics."""
        return np.linalg.norm(self.intrinsics[:, 2:], axis=1).astype(np.float32)

    def resized(self, size: Size) -> PriorMaps:
        """Return the maps at the networks' size."""
        maps = (bilinear(self.disparity, size), bilinear(self.mask, size), log_bilinear(self.log_depth, size))
        return PriorMaps(*maps, self.intrinsics)


def prior_maps(points: np.ndarray, mask: np.ndarray, statistics: PriorStatistics) -> PriorMaps:
    """Maps of frames: points (N, H, W, 3), mask (N, H, W)."""
    points = points / np.float32(statistics.scale)
    z = np.where(mask, points[..., 2], _ONE)
    disparity = np.where(mask, _ONE / np.maximum(z, np.float32(MIN_DEPTH)), _ZERO)
    low, spread = np.float32(statistics.low), np.float32(statistics.high - statistics.low + 1e-4)
    return PriorMaps(
        (np.clip((disparity - low) / spread, 0, 1) * 2 - 1)[:, None].astype(np.float32),
        (mask * np.float32(2) - _ONE)[:, None],
        np.where(mask, np.log(z + _TINY), _ZERO)[:, None],
        estimate_intrinsics(rays(points, mask)),
    )


def rays(points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """x / z and y / z of every pixel, (N, 2, H, W), those of invalid pixels included."""
    usable = _usable(points)
    safe_z = np.where(usable, points[..., 2], _ONE) + _TINY
    xy = np.where(usable[..., None], points[..., :2], _ZERO) / safe_z[..., None]
    none_valid = ~np.any(mask, axis=(1, 2), keepdims=True)
    xy = np.ascontiguousarray(xy.transpose(0, 3, 1, 2))
    return np.where(usable[:, None], xy, _pinhole_rays(xy, usable & (mask | none_valid))).astype(np.float32)


def estimate_intrinsics(xy: np.ndarray) -> np.ndarray:
    """Principal point and tangents of half the field of view from rays (N, 2, H, W): (N, 4) float32, x before y.

    Tangents reach to the centres of the outermost pixels. A middle column or row, where the grid is 0, says nothing
    of them and is left out.
    """
    centre = xy.mean((2, 3), dtype=np.float64)
    off = xy - centre[:, :, None, None]
    tangents = []
    for axis, grid in enumerate(grids(*xy.shape[2:])):
        told = grid != 0
        inverse = np.where(told, 1 / np.where(told, grid, 1), 0)
        used = max(int(told.sum()), 1) * xy.shape[2 + axis]
        tangents.append((off[:, axis] * inverse).sum((1, 2)) / used)
    return np.concatenate([centre, np.stack(tangents, axis=1)], axis=1).astype(np.float32)


def grids(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates from -1 at the first to 1 at the last pixel centre, of columns (1, W) and rows (H, 1)."""

    def along(count: int) -> np.ndarray:
        return (2 * np.arange(count) - (count - 1)) / max(count - 1, 1)

    return along(width)[None], along(height)[:, None]


def _usable(points: np.ndarray) -> np.ndarray:
    """Return where a point is finite and in front of the camera: (N, H, W)."""
    return np.isfinite(points).all(-1) & (points[..., 2] > 0)


def _pinhole_rays(xy: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Rays (N, 2, H, W) of the pinhole camera that fits those `seen` (N, H, W) best, in the sense of least squares.

    Where they are too few to tell, a camera of a usual field of view.
    """
    height, width = xy.shape[2:]
    weight = seen.astype(np.float64)
    count = np.maximum(weight.sum((1, 2)), 1)
    fitted = []
    for axis, grid in enumerate(grids(height, width)):
        usual = ((width, height)[axis] - 1) / (2 * USUAL_FOCAL * max(height, width))
        ray, grid = xy[:, axis], np.broadcast_to(grid, (height, width))
        ray_mean, grid_mean = ((weight * part).sum((1, 2)) / count for part in (ray, grid))
        off = weight * (grid - grid_mean[:, None, None])
        spread = (off * grid).sum((1, 2))
        enough = spread > 1e-3
        slope = np.where(enough, (off * ray).sum((1, 2)) / np.maximum(spread, 1e-3), usual)
        start = np.where(enough, ray_mean - slope * grid_mean, 0)
        fitted.append(start[:, None, None] + slope[:, None, None] * grid)
    return np.stack(fitted, axis=1)
