"""Sparse point tracks: pyramidal Lucas-Kanade with a forward-backward check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from geoflow.geometry.exposure import evened

_WINDOW = (15, 15)
_LEVELS = 4
_LIKE_AT_HINT = 0.8  # at an edge a search slides along, or follows what is in front; then the looks decide
_LEVELS_AT_HINT = 1  # coarser ones would look for another place
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.01)
_MANY_LOST = 0.5  # share of the points; of these a share as large must be found again, or it is another view
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
    gray_a: np.ndarray,
    gray_b: np.ndarray,
    uv_a: np.ndarray,
    guess_b: np.ndarray,
    *,
    max_error: float = 0.7,
    levels: int = _LEVELS,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the points of image a in image b (Bouguet 2001), searched around a guess.

    Where many are lost and the exposure differs, the lost ones are searched again with the same exposure in both.

    Args: two (H, W) uint8 images; `uv_a`, `guess_b` (N, 2) px; `max_error` px allowed between a point and its track
    there and back; `levels` of the pyramid above the image: few of them keep to a guess that is near. Returns `uv_b`
    (N, 2) float32 and `good` (N,) bool; rows of `uv_b` that are not good mean nothing.
    """
    if len(uv_a) == 0:
        return np.zeros((0, 2), np.float32), np.zeros(0, bool)
    guess_b = np.asarray(guess_b, np.float32)
    uv_b, good = _there_and_back(gray_a, gray_b, uv_a, guess_b, max_error, levels)
    lost = np.flatnonzero(~good)
    if len(lost) > _MANY_LOST * len(good) and (even := evened(gray_a, gray_b, uv_a, guess_b)) is not None:
        again, fine = _there_and_back(*even, uv_a[lost], guess_b[lost], max_error, levels)
        if fine.mean() > _MANY_LOST:
            uv_b[lost], good[lost] = again, fine
    return uv_b, good


def _there_and_back(
    gray_a: np.ndarray, gray_b: np.ndarray, uv_a: np.ndarray, guess_b: np.ndarray, max_error: float, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    options: Any = {"winSize": _WINDOW, "maxLevel": levels, "criteria": _CRITERIA}
    options["flags"] = cv2.OPTFLOW_USE_INITIAL_FLOW
    start = np.ascontiguousarray(uv_a, np.float32)
    uv_b, found, _ = cv2.calcOpticalFlowPyrLK(gray_a, gray_b, start, guess_b.copy(), **options)
    # The way back starts from the unshifted points plus the guessed motion, not from the answer that it should find.
    guess_back = uv_b - (guess_b - start)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(gray_b, gray_a, uv_b, guess_back, **options)
    height, width = gray_b.shape
    inside = (uv_b >= 0).all(1) & (uv_b[:, 0] <= width - 1) & (uv_b[:, 1] <= height - 1)
    near = np.linalg.norm(back - start, axis=1) < max_error
    return uv_b, (found.ravel() > 0) & (found_back.ravel() > 0) & inside & near


def snapped_grid(gray: np.ndarray, count: int, ignore: np.ndarray | None = None) -> np.ndarray:
    """Choose a grid of points (N, 2) float32 px, `count` along the longer side, each at its cell's best pixel.

    Cells without texture or under `ignore` (H, W) bool give no point.
    """
    height, width = gray.shape
    cell = max(height, width) / count
    strength = cv2.cornerMinEigenVal(gray, 5)
    border = _PATCH + 1
    strength[:border], strength[-border:], strength[:, :border], strength[:, -border:] = 0, 0, 0, 0
    if ignore is not None:
        strength[cv2.dilate(ignore.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0] = 0
    least = 0.003 * strength.max()
    points = []
    for top in np.arange(0, height - cell / 2, cell):
        for left in np.arange(0, width - cell / 2, cell):
            part = strength[int(top) : int(top + cell), int(left) : int(left + cell)]
            v, u = np.unravel_index(part.argmax(), part.shape)
            if part[v, u] > least:
                points.append((int(left) + u, int(top) + v))
    return np.array(points, np.float32).reshape(-1, 2)


def track_both_ways(
    grays: Sequence[np.ndarray],
    query: int,
    points: np.ndarray,
    *,
    hints: np.ndarray | None = None,
    min_likeness: float = 0.6,
) -> tuple[np.ndarray, np.ndarray]:
    """Track points of frame `query` to the end and to the beginning of the segment.

    Every frame is compared with the query frame itself, so tracks do not drift. Where the appearance changed too much,
    the track continues from the frame before, as long as the patch still resembles the first one. A lost point is
    searched again at `hints`.

    Args:
        grays: T images (H, W) uint8. points: (N, 2) px in frame `query`.
        hints: (T, N, 2) px where a point is expected once its track is lost; NaN where there is no hint.
        min_likeness: least normalised cross-correlation with the query patch.

    Returns uv (T, N, 2) float32 px, NaN where not seen, and visible (T, N) bool.
    """
    uv = np.full((len(grays), len(points), 2), np.nan, np.float32)
    uv[query] = points
    for ahead in (range(query + 1, len(grays)), range(query - 1, -1, -1)):
        track_on(grays[query], points, grays, uv, ahead, hints=hints, min_likeness=min_likeness)
    return uv, np.isfinite(uv[..., 0])


def track_on(
    image: np.ndarray,
    points: np.ndarray,
    grays: Sequence[np.ndarray],
    uv: np.ndarray,
    ahead: range,
    *,
    hints: np.ndarray | None = None,
    min_likeness: float = 0.6,
) -> None:
    """Track points (N, 2) px of an image through the frames `ahead`, as `track_both_ways` does; fill `uv` (T, N, 2).

    The image need not be one of `grays`. Where the points are in the frame before `ahead`, `uv` says: NaN if not seen.
    """
    template = patches(image, points)
    for t in ahead:
        last = t - ahead.step
        known = np.flatnonzero(np.isfinite(uv[last, :, 0]))
        there, good = follow(image, grays[t], points[known], uv[last, known])
        retry = np.flatnonzero(~good)
        before = uv[last, known[retry]]
        again, fine = follow(grays[last], grays[t], before, before)
        there[retry[fine]], good[retry[fine]] = again[fine], True
        good &= likeness(template[known], patches(grays[t], there)) > min_likeness
        uv[t, known[good]] = there[good]
        if hints is None:
            continue
        lost = np.flatnonzero(np.isnan(uv[t, :, 0]) & np.isfinite(hints[t, :, 0]))
        there, good = follow(image, grays[t], points[lost], hints[t, lost], levels=_LEVELS_AT_HINT)
        good &= likeness(template[lost], patches(grays[t], there)) > min_likeness
        uv[t, lost[good]] = there[good]
        slid = lost[~good]
        there = np.asarray(hints[t, slid], np.float32)
        good = likeness(template[slid], patches(grays[t], there)) > max(_LIKE_AT_HINT, min_likeness)
        uv[t, slid[good]] = there[good]


def patches(gray: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Patches around points (N, 2): (N, P) float32 with mean 0 and norm 1."""
    offset = np.arange(-_PATCH, _PATCH + 1, dtype=np.float32)
    u = points[:, :1] + np.tile(offset, len(offset))
    v = points[:, 1:] + np.repeat(offset, len(offset))
    found = [
        cv2.remap(gray, u[i : i + 8192], v[i : i + 8192], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for i in range(0, len(points), 8192)  # remap's maps have at most 32767 rows
    ]
    stack = np.concatenate(found).astype(np.float32) if found else np.zeros(u.shape, np.float32)
    stack -= stack.mean(1, keepdims=True)
    return stack / np.maximum(np.linalg.norm(stack, axis=1, keepdims=True), 1e-6)


def likeness(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Normalised cross-correlation of patches (N, P)."""
    return (a * b).sum(1)
