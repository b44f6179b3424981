"""Formulas in pure numpy: arrays of valid values in, plain numbers out. NaN means that nothing could be measured."""

from __future__ import annotations

import numpy as np

DELTA_THRESHOLD = 1.25  # Eigen et al. 2014
INLIER_THRESHOLD = 0.25  # relative point error of an inlier: MoGe (Wang et al. 2025), GeometryCrafter (Xu et al. 2025)


def median(values: np.ndarray) -> float:
    """Return the median as a float; NaN for no values."""
    return float(np.median(values)) if len(values) else float("nan")


def median_ratio(predicted: np.ndarray, true: np.ndarray) -> float:
    """The scale s that brings depths to the truth: median of true / predicted (Zhou et al. 2017).

    Both (N,), positive.

    >>> median_ratio(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 60.0]))
    2.0
    """
    return median(true / predicted)


def absolute_relative_errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """|d - d*| / d* per pixel, (N,); its mean is AbsRel (Eigen et al. 2014)."""
    return np.abs(predicted - true) / true


def within_delta(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """max(d / d*, d* / d) < 1.25 per pixel, (N,) bool; its mean is delta-1 (Eigen et al. 2014)."""
    return np.maximum(predicted / true, true / predicted) < DELTA_THRESHOLD


def relief(depth: np.ndarray) -> float:
    """By what share the far side of depths (N,) is farther than the near one: 95th over 5th percentile, less 1."""
    near, far = np.percentile(depth, (5, 95)) if len(depth) else (np.nan, np.nan)
    return float(far / near - 1)


def l1_point_scale(predicted: np.ndarray, true: np.ndarray) -> float:
    """The scale s that minimises sum |s p - q|_1 / z over points p, q (N, 3), z being the depth of q.

    This is the scale-only alignment of MoGe (Wang et al. 2025) without truncation, solved exactly: the objective
    is convex and piecewise linear in s, and its minimum is the median of q / p weighted with |p| / z.
    """
    if not len(predicted):
        return float("nan")
    weight = np.abs(predicted) / true[:, 2:]
    usable = weight > 1e-9
    if not usable.any():
        return float("nan")
    ratio, weight = (true / np.where(usable, predicted, 1))[usable], weight[usable]
    order = np.argsort(ratio)
    cumulative = np.cumsum(weight[order])
    return float(ratio[order][np.searchsorted(cumulative, cumulative[-1] / 2)])


def relative_point_errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """|p - q| / |q| per point, (N,); its mean is Rel-p, the share below 0.25 the inliers (MoGe, GeometryCrafter)."""
    return np.linalg.norm(predicted - true, axis=-1) / np.linalg.norm(true, axis=-1)


def relative_step(
    predicted_a: np.ndarray, predicted_b: np.ndarray, true_a: np.ndarray, true_b: np.ndarray
) -> np.ndarray:
    """Return the change of static points' depth from a to b beyond the expected change, (N,) relative.

    |log((predicted_b / predicted_a) / (true_b / true_a))|: the ratio removes the change caused by the camera's motion,
    and the logarithm treats growing and shrinking alike; for small values it is the relative change. The idea follows
    the temporal alignment error of Video Depth Anything (Chen et al. 2025), with a ratio in place of a difference.
    """
    return np.abs(np.log(predicted_b / predicted_a) - np.log(true_b / true_a))


def scale_drift(scales: np.ndarray) -> float:
    """|log(last / first)| of the medians over the last and the first tenth of the frames' scales (T,), NaN left out.

    >>> round(scale_drift(np.geomspace(1.0, 1.5, 20)), 2)
    0.38
    """
    known = scales[np.isfinite(scales)]
    if len(known) < 2:
        return float("nan")
    tenth = max(1, len(known) // 10)
    return abs(float(np.log(np.median(known[-tenth:]) / np.median(known[:tenth]))))


def focal_error(predicted: np.ndarray | None, true: np.ndarray) -> float:
    """Median over frames of |f / f* - 1|, f being the mean of fx and fy of intrinsics (T, 3, 3), NaN where unknown."""
    if predicted is None:
        return float("nan")
    f, f_true = (k[:, [0, 1], [0, 1]].mean(1, dtype=np.float64) for k in (predicted, true))
    both = np.isfinite(f) & np.isfinite(f_true)
    return median(np.abs(f[both] / f_true[both] - 1))
