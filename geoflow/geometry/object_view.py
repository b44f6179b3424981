"""The frame that shows an object best: large, whole, sharp, and with depth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_LEAST_PIXELS = 24 * 24  # of an object that something can be made of
_CUT = 0.25  # how much a view counts in which the frame's border cuts the object
_LEAST_DEPTH = 0.3  # share of an object's pixels with depth, below which it cannot be placed
_EDGE = 2  # px at an object's outline that may have the background's depth


@dataclass(frozen=True)
class ObjectView:
    """One frame of an object."""

    frame: int  # source frame number
    score: float  # higher is better; comparable within one object of one video
    rgba: np.ndarray  # (h, w, 4) uint8, the object's box, transparent where it is not
    points: np.ndarray  # (K, 3) float32, of the object in the camera frame, without its outline
    world_from_cam: np.ndarray  # (4, 4) float32


def view_score(rgb: np.ndarray, shown: np.ndarray, depth: np.ndarray) -> float:
    """Return how well a frame shows an object, 0 where nothing can be made of it.

    rgb (H, W, 3) uint8, shown (H, W) bool: the object's pixels, depth (H, W) with 0 where it is not known.
    """
    pixels = int(shown.sum())
    if pixels < _LEAST_PIXELS or (depth[shown] > 0).mean() < _LEAST_DEPTH:
        return 0.0
    border = shown[0].any() or shown[-1].any() or shown[:, 0].any() or shown[:, -1].any()
    return float(np.sqrt(pixels) * _sharpness(rgb, shown) * (_CUT if border else 1.0))


def cut_out(rgb: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the object's box of a frame, (h, w, 4) uint8, transparent where the object is not."""
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return np.dstack([rgb[box], shown[box].astype(np.uint8) * 255])


def without_outline(shown: np.ndarray) -> np.ndarray:
    """Return the object's pixels (H, W) bool that are not at its outline, where depth bleeds."""
    return cv2.erode(shown.astype(np.uint8), np.ones((2 * _EDGE + 1,) * 2, np.uint8), borderValue=0) > 0


def _sharpness(rgb: np.ndarray, shown: np.ndarray) -> float:
    """Return how strong the finest detail is inside the object, relative to its contrast."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    inside = without_outline(shown)
    if not inside.any():
        return 0.0
    detail = cv2.Laplacian(grey, cv2.CV_32F)[inside]
    return float(np.abs(detail).mean() / (grey[inside].std() + 1.0))
