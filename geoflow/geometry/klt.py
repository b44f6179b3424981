"""Sparse point tracks: pyramidal Lucas-Kanade with a forward-backward check, and their lifting into 3D."""

from __future__ import annotations

import cv2
import numpy as np

_WINDOW = (15, 15)
_LEVELS = 4
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.01)
_PATCH = 4  # half size, px, of the patch whose appearance is compared


def corners(
    gray: np.ndarray,
    max_count: int,
    spacing: float,
    *,
    keep_off: np.ndarray | None = None,
    ignore: np.ndarray | None = None,
) -> np.ndarray:
    """Trackable corners (Shi and Tomasi 1994) of a (H, W) uint8 image, at least `spacing` px apart: (N, 2) float32 px.

    Corners stay `spacing` px clear of the points `keep_off` (M, 2) and outside `ignore` (H, W) bool.
    """
    allowed = np.full(gray.shape, 255, np.uint8)
    border = _PATCH + 1
    allowed[:border], allowed[-border:], allowed[:, :border], allowed[:, -border:] = 0, 0, 0, 0
    if ignore is not None:
        allowed[cv2.dilate(ignore.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0] = 0
    for u, v in np.rint(keep_off).astype(int) if keep_off is not None else ():
        cv2.circle(allowed, (int(u), int(v)), int(spacing), 0, -1)
    found = cv2.goodFeaturesToTrack(gray, max_count, 0.003, spacing, mask=allowed, blockSize=5)
    return np.zeros((0, 2), np.float32) if found is None else found.reshape(-1, 2)


def follow(
    gray_a: np.ndarray, gray_b: np.ndarray, uv_a: np.ndarray, guess_b: np.ndarray, *, max_error: float = 0.7
) -> tuple[np.ndarray, np.ndarray]:
    """Where the points of image a are in image b (Bouguet 2001), searched around a guess.

    Args: two (H, W) uint8 images; `uv_a`, `guess_b` (N, 2) px; `max_error` px that tracking there and back may miss.
    Returns `uv_b` (N, 2) float32 and `good` (N,) bool; rows of `uv_b` where not good mean nothing.
    """
    if len(uv_a) == 0:
        return np.zeros((0, 2), np.float32), np.zeros(0, bool)
    options = dict(winSize=_WINDOW, maxLevel=_LEVELS, criteria=_CRITERIA, flags=cv2.OPTFLOW_USE_INITIAL_FLOW)
    start = np.ascontiguousarray(uv_a, np.float32)
    uv_b, found, _ = cv2.calcOpticalFlowPyrLK(gray_a, gray_b, start, np.array(guess_b, np.float32), **options)
    # The way back starts from the unshifted points plus the guessed motion, not from the answer it should find.
    guess_back = uv_b - (np.asarray(guess_b, np.float32) - start)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(gray_b, gray_a, uv_b, guess_back, **options)
    height, width = gray_b.shape
    inside = (uv_b >= 0).all(1) & (uv_b[:, 0] <= width - 1) & (uv_b[:, 1] <= height - 1)
    near = np.linalg.norm(back - start, axis=1) < max_error
    return uv_b, (found.ravel() > 0) & (found_back.ravel() > 0) & inside & near
