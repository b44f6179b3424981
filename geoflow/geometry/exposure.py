"""Exposure of two pictures evened out, so that points are found again after it jumped: a flash, automatic exposure."""

from __future__ import annotations

import cv2
import numpy as np

_BLUR = 31  # px; so wide that a guess that is a few px off does not matter
_LEAST_POINTS = 25  # fewer tell the exposure too vaguely
_SAME_GAIN, _SAME_LEVEL = 0.1, 6.0  # gains and grey levels nearer than this do not hinder tracking
_LEVELS = (10, 25, 50, 75, 90)  # percentiles


def evened(
    gray_a: np.ndarray, gray_b: np.ndarray, uv_a: np.ndarray, uv_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return both pictures (H, W) uint8 at the exposure of the flatter one; None if their exposure is the same.

    Gain and offset come from the surroundings of points `uv_a` (N, 2) px and of their guesses `uv_b` (N, 2) px in the
    other picture: by percentiles, since single guesses may be wrong.
    """
    if len(uv_a) < _LEAST_POINTS:
        return None
    level_a, level_b = (np.percentile(_levels(g, uv), _LEVELS) for g, uv in ((gray_a, uv_a), (gray_b, uv_b)))
    spread_a, spread_b = level_a.std(), level_b.std()
    if min(spread_a, spread_b) < 1:
        return None
    gain = spread_b / spread_a  # b = gain * a + offset
    offset = level_b.mean() - gain * level_a.mean()
    if abs(gain - 1) < _SAME_GAIN and abs(level_b.mean() - level_a.mean()) < _SAME_LEVEL:
        return None
    if gain < 1:
        return _changed(gray_a, gain, offset), gray_b
    return gray_a, _changed(gray_b, 1 / gain, -offset / gain)


def _levels(gray: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Return the mean grey levels (N,) around points (N, 2) px."""
    height, width = gray.shape
    u, v = np.rint(uv).astype(int).T
    return cv2.blur(gray, (_BLUR, _BLUR))[np.clip(v, 0, height - 1), np.clip(u, 0, width - 1)].astype(np.float64)


def _changed(gray: np.ndarray, gain: float, offset: float) -> np.ndarray:
    table = np.clip(np.rint(gain * np.arange(256) + offset), 0, 255).astype(np.uint8)
    return cv2.LUT(gray, table)
