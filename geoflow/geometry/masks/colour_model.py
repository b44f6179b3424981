"""What colours an object has: histograms, how alike two are, and which pixels fit one."""

from __future__ import annotations

import cv2
import numpy as np

BINS = 16  # per channel
_SMOOTH = 0.7  # of a histogram's cells, in bins: neighbours share their counts


def quantised(rgb: np.ndarray) -> np.ndarray:
    """Return the cell (0 to BINS ** 3 - 1) of each pixel of a frame (H, W, 3) uint8: (H, W) int32."""
    cell = (rgb // (256 // BINS)).astype(np.int32)
    return (cell[..., 0] * BINS + cell[..., 1]) * BINS + cell[..., 2]


def histogram(cells: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the share of the mask's pixels in each cell: (BINS ** 3,) float32 with sum 1; 0 for an empty mask."""
    counts = np.bincount(cells[mask], minlength=BINS**3).astype(np.float32).reshape(BINS, BINS, BINS)
    if not counts.any():
        return counts.ravel()
    for axis in range(3):
        moved = np.moveaxis(counts, axis, 0)
        flat = cv2.GaussianBlur(np.ascontiguousarray(moved).reshape(BINS, -1), (1, 5), 0.1, sigmaY=_SMOOTH)
        counts = np.moveaxis(flat.reshape(BINS, BINS, BINS), 0, axis)
    return (counts / counts.sum()).astype(np.float32).ravel()


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Bhattacharyya coefficient of two histograms: 1 for the same, 0 if they share no colour."""
    return float(np.sqrt(one * other).sum())


def fitting(cells: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return how much rather a pixel's colour is of one histogram than of another: 0 to 1, as the cells' shape.

    A colour that neither has is 0.5.
    """
    floor = np.float32(1e-4)
    share = (inside + floor) / (inside + outside + 2 * floor)
    return share[cells]
