"""The order of depth: whether two depth maps of one picture call the same pixels near and the same pixels far."""

from __future__ import annotations

import numpy as np

LEAST_PIXELS = 50  # known in both maps; with fewer there is no answer
_MOST_PIXELS = 5000  # an even sample of more: the rank correlation of that many is off by at most 0.014


def rank_correlation(predicted: np.ndarray, true: np.ndarray) -> float:
    """Spearman's rho (1904) of depths (N,): 1 if the order is right, -1 if near and far are exchanged.

    It depends on nothing but the order: no scale, shift or other increasing change of the depths alters it. Depths that
    are equal share their mean rank. NaN if all depths of one side are equal, or there are none.

    >>> rank_correlation(np.array([1.0, 2.0, 4.0]), np.array([3.0, 30.0, 31.0]))
    1.0
    >>> rank_correlation(1 / np.array([1.0, 2.0, 4.0]), np.array([3.0, 30.0, 31.0]))
    -1.0
    """
    from scipy.stats import rankdata

    if len(predicted) < 2:
        return float("nan")
    a, b = (rank - rank.mean() for rank in (rankdata(predicted), rankdata(true)))
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / spread if spread > 0 else float("nan")


def order_agreement(depth_a: np.ndarray, depth_b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return Spearman's rank correlation of two depth maps (H, W), in any units: 1 same order, -1 reversed.

    Pixels where either is 0 or not finite do not count, nor those where `mask` (H, W) bool is False. NaN if fewer than
    50 pixels are left, or one of the maps is flat.

    >>> near, far = np.ones((8, 8)), np.arange(64.0).reshape(8, 8) + 1
    >>> order_agreement(far, 3 * far**2), order_agreement(far, 1 / far), order_agreement(near, far)
    (1.0, -1.0, nan)
    """
    both = np.isfinite(depth_a) & np.isfinite(depth_b) & (depth_a > 0) & (depth_b > 0)
    if mask is not None:
        both &= mask
    pixels = np.flatnonzero(both)
    if len(pixels) < LEAST_PIXELS:
        return float("nan")
    pixels = pixels[np.linspace(0, len(pixels) - 1, min(len(pixels), _MOST_PIXELS)).astype(int)]
    return float(np.clip(rank_correlation(depth_a.ravel()[pixels], depth_b.ravel()[pixels]), -1, 1))
