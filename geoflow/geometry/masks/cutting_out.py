"""GrabCut (Rother et al. 2004): an object cut out of a frame, from a box, points, or a mask that is nearly right."""

from __future__ import annotations

import cv2
import numpy as np

from geoflow.segments import Prompt

_ROUNDS = 5  # of GrabCut for a prompt
_SEED = 0  # GrabCut draws random numbers: the same for every call, so that results repeat
_CLICK = 3  # px around a point that are of the object, too
_REACH = 0.35  # of the picture's longer side: how far an object of which only points are known may extend
_CONTEXT = 24  # px around the band that the background's colours are learnt from


def from_prompts(rgb: np.ndarray, prompts: list[Prompt]) -> np.ndarray:
    """Return the object that boxes and points show in a frame (H, W, 3) uint8: (H, W) bool; empty if there is none."""
    height, width = rgb.shape[:2]
    marks = np.full((height, width), cv2.GC_BGD, np.uint8)
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    points = [point for prompt in prompts for point in prompt.points]
    for left, top, right, bottom in boxes or _around(points, height, width):
        rows = slice(max(0, round(top)), max(0, round(bottom) + 1))
        marks[rows, max(0, round(left)) : max(0, round(right) + 1)] = cv2.GC_PR_FGD
    for x, y, on in points:
        kind = cv2.GC_FGD if on else cv2.GC_BGD
        cv2.circle(marks, (round(x), round(y)), _CLICK, int(kind), thickness=-1)
    if not boxes and any(on for *_, on in points):
        _only_near(marks, points)
    if not (marks == cv2.GC_BGD).any() or not (marks != cv2.GC_BGD).any():
        return marks != cv2.GC_BGD  # the whole picture, or nothing of it
    found = _grabcut(rgb, marks, _ROUNDS)
    clicked = [(round(x), round(y)) for x, y, on in points if on]
    return main_piece(found, clicked)


def _around(
    points: list[tuple[float, float, bool]], height: int, width: int
) -> list[tuple[float, float, float, float]]:
    """Return the box within which the object that points show is looked for."""
    own = np.array([(x, y) for x, y, on in points if on]).reshape(-1, 2)
    if not len(own):
        return []
    reach = _REACH * max(height, width)
    (left, top), (right, bottom) = own.min(0) - reach, own.max(0) + reach
    return [(left, top, right, bottom)]


def _only_near(marks: np.ndarray, points: list[tuple[float, float, bool]]) -> None:
    """Points say little of the object's size: what is far from all of them begins as background that may be of it."""
    own = np.array([(x, y) for x, y, on in points if on]).reshape(-1, 2)
    v, u = np.indices(marks.shape, dtype=np.float32)
    near = np.min([np.hypot(u - x, v - y) for x, y in own], axis=0) < _REACH / 3 * max(marks.shape)
    marks[(marks == cv2.GC_PR_FGD) & ~near] = cv2.GC_PR_BGD


def within_band(rgb: np.ndarray, carried: np.ndarray, sure: np.ndarray, band: int) -> np.ndarray:
    """Return the object cut out anew where its edge may be: (H, W) bool.

    Within `band` px of the edge of `carried` (H, W) bool, except where `sure` (H, W) bool, colours decide. Elsewhere
    it stays as carried.
    """
    kernel = disk(band)
    grown = cv2.dilate(carried.view(np.uint8), kernel).view(bool)
    core = cv2.erode(carried.view(np.uint8), kernel).view(bool) | (sure & carried)
    window = _window(grown, _CONTEXT)
    if window is None:
        return carried
    marks = np.full(carried.shape, cv2.GC_BGD, np.uint8)
    marks[grown] = cv2.GC_PR_BGD
    marks[carried] = cv2.GC_PR_FGD
    marks[core] = cv2.GC_FGD
    part = marks[window]
    if (part != cv2.GC_BGD).all() or np.count_nonzero(part == cv2.GC_BGD) < 32 or np.count_nonzero(part & 1) < 32:
        return carried
    found = np.zeros_like(carried)
    found[window] = _grabcut(rgb[window], part, 1)
    return found


def _grabcut(rgb: np.ndarray, marks: np.ndarray, rounds: int) -> np.ndarray:
    """Return which pixels GrabCut takes for the object, from its marks (H, W) uint8."""
    marks = np.ascontiguousarray(marks)
    cv2.setRNGSeed(_SEED)
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    cv2.grabCut(bgr, marks, None, np.zeros((1, 65)), np.zeros((1, 65)), rounds, cv2.GC_INIT_WITH_MASK)
    return (marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)


def main_piece(mask: np.ndarray, points: list[tuple[int, int]] | None = None) -> np.ndarray:
    """Return the pieces of a mask with these points (x, y); without points, those at least a fifth as large as the
    largest."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    area = stats[:, cv2.CC_STAT_AREA].copy()
    area[0] = 0
    keep = area >= area.max() / 5
    if points and (own := {int(pieces[y, x]) for x, y in points if _inside(mask, x, y)} - {0}):
        keep = np.isin(np.arange(count), list(own))
    keep[0] = False
    return keep[pieces]


def _inside(mask: np.ndarray, x: int, y: int) -> bool:
    return 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]


def _window(mask: np.ndarray, margin: int) -> tuple[slice, slice] | None:
    """Return the rows and columns of a mask with a margin around them; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    top, left = max(0, int(rows[0]) - margin), max(0, int(columns[0]) - margin)
    return slice(top, int(rows[-1]) + 1 + margin), slice(left, int(columns[-1]) + 1 + margin)


def disk(radius: int) -> np.ndarray:
    """Return a round structuring element of OpenCV."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
