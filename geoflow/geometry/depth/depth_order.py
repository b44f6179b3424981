"""The order of depth: whether two depth maps of one picture call the same pixels near and the same pixels far."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

LEAST_PIXELS = 50  # known in both maps; with fewer there is no answer
_MOST_PIXELS = 5000  # an even sample of more: the rank correlation of that many is off by at most 0.014


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
    a, b = (rankdata(depth.ravel()[pixels]) for depth in (depth_a, depth_b))
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip(a @ b / spread, -1, 1)) if spread > 0 else float("nan")
