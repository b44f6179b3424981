"""How much hands jitter: what their joints do from frame to frame that no hand does."""

from __future__ import annotations

import numpy as np


def hand_jitter(uv: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return the jitter of a hand in T frames: (T,) float32, in sizes of the hand; NaN without three frames in a row.

    It is the median distance of the joints `uv` (T, J, 2) px from the middle between those of the frame before and of
    the frame after, over the diagonal of the hand's box. `valid` is (T,) bool.

    >>> steady = np.arange(4.0)[:, None, None] + np.eye(2) * 10
    >>> hand_jitter(steady, np.ones(4, bool)).tolist()
    [nan, 0.0, 0.0, nan]
    """
    out = np.full(len(valid), np.nan, np.float32)
    if len(valid) < 3:
        return out
    whole = valid[:-2] & valid[1:-1] & valid[2:]
    points = np.where(valid[:, None, None], uv, 0).astype(np.float64)
    bend = np.linalg.norm(points[1:-1] - 0.5 * (points[:-2] + points[2:]), axis=2)
    size = np.linalg.norm(points.max(1) - points.min(1), axis=1)[1:-1]
    known = whole & (size > 0)
    out[1:-1][known] = np.median(bend, axis=1)[known] / size[known]
    return out
