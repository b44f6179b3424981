"""Blur and exposure of single pictures, without a reference; and small pictures, for comparisons."""

from __future__ import annotations

import cv2
import numpy as np

SMALL = (72, 128)  # rows, columns of a small picture, whatever the shape of the frame is
_TAPS = 9  # px, of the box with which a picture is blurred again (Crete et al. 2007)
_BRIGHT = 90  # percentile
_OVEREXPOSED = 250  # of 255
_LEAST_DETAIL = 0.5  # grey levels from pixel to pixel on average: with less there is no blur to speak of


def blur_of(gray: np.ndarray) -> float:
    """Return how blurred an image (H, W) uint8 is: 0 sharp, 1 without any detail; NaN if there is nothing to see.

    Blurred again, a sharp picture loses most of its differences from pixel to pixel, a blurred one hardly any (Crete,
    Dolmiere, Ladret, Nicolas: The blur effect, 2007). The larger value of rows and columns counts, as in the paper.

    >>> steps = np.kron(np.indices((16, 16)).sum(0) % 2, np.ones((8, 8))).astype(np.uint8) * 200
    >>> blur_of(steps) < 0.4 < blur_of(cv2.GaussianBlur(steps, (0, 0), 3))
    True
    """
    picture = cv2.GaussianBlur(gray.astype(np.float32), (3, 3), 0)  # the sensor's noise would pass for detail
    values = []
    for axis, size in ((0, (1, _TAPS)), (1, (_TAPS, 1))):
        there = np.abs(np.diff(picture, axis=axis))
        left = np.abs(np.diff(cv2.blur(picture, size), axis=axis))
        if there.mean() < _LEAST_DETAIL:
            continue
        values.append(1 - float(np.maximum(there - left, 0).sum() / there.sum()))
    return max(values, default=float("nan"))


def brightness_of(gray: np.ndarray) -> float:
    """Return the brightness of the bright parts of an image (H, W) uint8, its 90th percentile: 0 to 1."""
    reached = np.cumsum(cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel())
    place = _BRIGHT / 100 * (gray.size - 1)  # among the sorted pixels; between two of them, between their values
    low, high = (int(np.searchsorted(reached, at, side="right")) for at in (np.floor(place), np.ceil(place)))
    return (low + (place - np.floor(place)) * (high - low)) / 255


def overexposed_share(rgb: np.ndarray) -> float:
    """Return the share of pixels (H, W, 3) uint8 of which every channel is at its end."""
    return float((cv2.inRange(rgb, (_OVEREXPOSED,) * 3, (255,) * 3) > 0).mean())


def small_picture(gray: np.ndarray) -> np.ndarray:
    """Return an image (H, W) uint8 in the size `SMALL`."""
    return cv2.resize(gray, SMALL[::-1], interpolation=cv2.INTER_AREA)


def measure_pictures(frames: np.ndarray) -> dict[str, np.ndarray]:
    """Return the fields `frames.blur`, `.brightness`, `.overexposed` (T,) and `.small` of T frames (H, W, 3) uint8."""
    found: dict[str, list] = {"blur": [], "brightness": [], "overexposed": [], "small": []}
    for rgb in frames:
        gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        found["blur"].append(blur_of(gray))
        found["brightness"].append(brightness_of(gray))
        found["overexposed"].append(overexposed_share(rgb))
        found["small"].append(small_picture(gray))
    small = np.array(found.pop("small"), np.uint8).reshape(len(frames), *SMALL)
    return {f"frames.{name}": np.array(row, np.float32) for name, row in found.items()} | {"frames.small": small}
