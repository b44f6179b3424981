"""Poses of point maps against images, and one scale for all point maps of a segment."""

from __future__ import annotations

import numpy as np

from geoflow.geometry.motion.epipolar import rotation_exp

_FIRST_SPREAD_PX, _LAST_SPREAD_PX = 24.0, 1.0  # robust scale of the reprojection error, from first to last iteration


def register(
    xyz: np.ndarray, uv: np.ndarray, weight: np.ndarray, intrinsics: np.ndarray, iterations: int = 9
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rigid poses of P views of points: points (P, N, 3), their pixels (P, N, 2) and weights (P, N).

    Iteratively re-weighted Gauss-Newton on the reprojection error. It starts from the identity with a wide robust scale
    that narrows, so that half of the points may move or be wrong. Pixels determine a pose far better than the depths of
    the other view would, whose noise grows with the square of the distance.

    Returns rotations (P, 3, 3), translations (P, 3) and the last errors (P, N) px.
    """
    count = len(xyz)
    focal_x, focal_y = float(intrinsics[0, 0]), float(intrinsics[1, 1])
    points = np.swapaxes(xyz, 1, 2).astype(np.float64)
    target = np.swapaxes((uv - intrinsics[:2, 2]) / [focal_x, focal_y], 1, 2)
    rotation, translation = np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3))
    spreads = np.geomspace(_FIRST_SPREAD_PX, _LAST_SPREAD_PX, iterations - 2).tolist() + [_LAST_SPREAD_PX] * 3
    error = np.zeros(weight.shape)
    for step_index, spread in enumerate(spreads):
        x, y, z = np.moveaxis(rotation @ points + translation[..., None], 1, 0)
        z = np.maximum(z, 1e-3)
        x, y = x / z, y / z
        error_x, error_y = x - target[:, 0], y - target[:, 1]
        error = np.hypot(error_x * focal_x, error_y * focal_y)
        if step_index == iterations:
            break
        inverse, zero = 1 / z, np.zeros_like(z)
        row_x = np.stack([-x * y, 1 + x * x, -y, inverse, zero, -x * inverse], axis=1)
        row_y = np.stack([-1 - y * y, x * y, x, zero, inverse, -y * inverse], axis=1)
        w = (weight / (1 + (error / spread) ** 2) ** 2)[:, None]
        weighted_x, weighted_y = row_x * w, row_y * w
        normal = weighted_x @ np.swapaxes(row_x, 1, 2) + weighted_y @ np.swapaxes(row_y, 1, 2)
        gradient = weighted_x @ error_x[..., None] + weighted_y @ error_y[..., None]
        ridge = np.eye(6) * (1e-9 + 1e-6 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 6)
        step = -np.linalg.solve(normal + ridge, gradient)[..., 0]
        turn = rotation_exp(step[:, :3])
        rotation, translation = turn @ rotation, (turn @ translation[..., None])[..., 0] + step[:, 3:]
    return rotation, translation, error


def solve_scales(
    source: np.ndarray, target: np.ndarray, log_ratio: np.ndarray, weight: np.ndarray, count: int
) -> np.ndarray:
    """Solve for log scales (count,) float64 of frames, median 0, from log ratios between them (L1, re-weighted).

    Edge e says that frame `target[e]` times its scale equals `source[e]` times its scale if scale_target / scale_source
    = exp(log_ratio[e]). Frames without an edge take their neighbours' scale.
    """
    scales: np.ndarray = np.zeros(count)
    frames = np.arange(count)
    base = np.zeros((count, count))
    # A weak tie between consecutive frames makes the system regular for any edges. The first frame is fixed, which the
    # median at the end undoes.
    base[frames[1:], frames[1:]] += 1e-6
    base[frames[:-1], frames[:-1]] += 1e-6
    base[frames[1:], frames[:-1]] -= 1e-6
    base[frames[:-1], frames[1:]] -= 1e-6
    base[0, 0] += 1.0
    weight = weight / weight.max() if len(weight) else weight
    for _ in range(15):
        gap = scales[target] - scales[source] - log_ratio
        w = weight / np.maximum(np.abs(gap), 1e-3)
        normal, right = base.copy(), np.zeros(count)
        np.add.at(normal, (target, target), w)
        np.add.at(normal, (source, source), w)
        np.add.at(normal, (target, source), -w)
        np.add.at(normal, (source, target), -w)
        np.add.at(right, target, w * log_ratio)
        np.add.at(right, source, -w * log_ratio)
        scales = np.linalg.solve(normal, right)
    return scales - np.median(scales)
