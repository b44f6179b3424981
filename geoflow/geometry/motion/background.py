"""The background of a picture: what lies along its border, where a thing that moves by itself rarely covers most.

People and cars fill the middle of a picture and carry most of its corners. So the motion of a camera is not judged by
the majority of points, but by the majority of cells along the border.
"""

from __future__ import annotations

import cv2
import numpy as np

_ROWS, _COLUMNS = 6, 8
_LEAST_CELLS = 8  # of the 24 along the border: with fewer, one side of the picture would decide
_LEAST_POINTS = 12


def border_share(uv: np.ndarray, agrees: np.ndarray, size: tuple[int, int]) -> float:
    """Return the share of border cells in which most points agree; NaN if too few cells hold points.

    `uv` (N, 2) px, `agrees` (N,) bool, `size` (height, width).
    """
    on_border, cell = _cells(uv, size)
    count = np.bincount(cell[on_border], minlength=_ROWS * _COLUMNS)
    agreeing = np.bincount(cell[on_border & agrees], minlength=_ROWS * _COLUMNS)
    held = count > 0
    return float((2 * agreeing[held] > count[held]).mean()) if held.sum() >= _LEAST_CELLS else np.nan


def background(uv_a: np.ndarray, uv_b: np.ndarray, size: tuple[int, int], tolerance: float) -> np.ndarray:
    """Return which matches (N,) bool follow the homography of the border's points: none if there is none.

    Two views of a camera that only turns are related by a homography, whatever its focal length. `uv_a`, `uv_b` (N, 2)
    px, `tolerance` px.
    """
    nothing = np.zeros(len(uv_a), bool)
    on_border, _ = _cells(uv_a, size)
    if on_border.sum() < _LEAST_POINTS:
        return nothing
    try:
        found, _ = cv2.findHomography(uv_a[on_border], uv_b[on_border], cv2.USAC_DEFAULT, tolerance)
    except cv2.error:  # refinement that leaves no model
        return nothing
    if found is None:
        return nothing
    seen = np.concatenate([uv_a, np.ones((len(uv_a), 1))], 1) @ found.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.linalg.norm(seen[:, :2] / seen[:, 2:] - uv_b, axis=1) < tolerance


def _cells(uv: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return which points (N,) bool lie in cells along the border, and the cell (N,) int of each."""
    height, width = size
    row = np.clip((uv[:, 1] * _ROWS / height).astype(int), 0, _ROWS - 1)
    column = np.clip((uv[:, 0] * _COLUMNS / width).astype(int), 0, _COLUMNS - 1)
    on_border = (row == 0) | (row == _ROWS - 1) | (column == 0) | (column == _COLUMNS - 1)
    return on_border, row * _COLUMNS + column
