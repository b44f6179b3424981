"""Objects followed from frame to frame: a mask is carried by flow, cut out anew at its edge, and checked by depth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from geoflow.geometry.masks.colour_model import fitting, histogram, likeness
from geoflow.geometry.masks.cutting_out import disk, main_piece, within_band
from geoflow.geometry.masks.followed_object import FollowedObject, median_depth
from geoflow.geometry.masks.frame_step import FrameStep

_LEAST_PX = 16
_SURE_PX = 2  # from the edge inwards: pixels whose flow agrees are of the object


@dataclass(frozen=True)
class FollowingParams:
    """What may be set; lengths in px of frames of 320x240, and longer in larger frames."""

    band: int = 6  # around the edge of a carried mask, in which it is cut out anew
    depth_gate: float = 0.18  # relative difference to the object's median depth that its pixels may have
    min_likeness: float = 0.45  # of colours, to call what is found the object again
    least_share: float = 0.04  # of the expected pixels: with fewer, the object is lost


def follow(item: FollowedObject, step: FrameStep, taken: np.ndarray, params: FollowingParams) -> FollowedObject:
    """Return the object in the frame that `step` leads to; `taken` (H, W) bool are pixels of other objects."""
    if not item.seen:
        return _searched(item, step, taken, params)
    mask = _advanced(item, step, params) & ~taken
    depth = median_depth(step.depth, mask)
    if mask.sum() >= max(_LEAST_PX, params.least_share * item.expected_area(depth)) and _is_it(item, mask, step):
        return item.now(mask, step.cells, step.depth, step.flow)
    return _lost(item, step)


def _is_it(item: FollowedObject, mask: np.ndarray, step: FrameStep) -> bool:
    """Return whether a carried mask still shows the object: by its colours."""
    least = 0.3 if step.depth is not None and item.depth > 0 else 0.5
    return likeness(histogram(step.cells, mask), item.colours) > least


def _advanced(item: FollowedObject, step: FrameStep, params: FollowingParams) -> np.ndarray:
    """Return the mask in the next frame: (H, W) bool."""
    carried = step.carried(item.mask)
    if step.depth is not None and item.depth > 0:
        carried &= _at_depth(item, step, params)
    if carried.sum() < _LEAST_PX:
        return carried
    core = cv2.erode(carried.view(np.uint8), disk(_SURE_PX)).view(bool) & step.sure
    cut = within_band(step.rgb, carried, core, params.band)
    distance = _signed_distance(carried)
    score = np.clip(distance / params.band, -1, 1) + np.where(cut, 0.5, -0.5)
    if step.depth is not None and item.depth > 0:
        score += _depth_votes(step.depth, carried, params.band)
        score[_standing_free(step.depth, carried, _at_depth(item, step, params), params.band)] += 1.6
    else:
        score += _colour_votes(item, carried, step)
    mask = (score > 0) & (distance > -params.band)
    if step.depth is not None and item.depth > 0:
        mask &= _at_depth(item, step, params)
        mask = _regrown(item, mask, step, params)
    return main_piece(mask)


def _colour_votes(item: FollowedObject, carried: np.ndarray, step: FrameStep) -> np.ndarray:
    """Return how much rather a pixel's colours are the object's than its surroundings': -1 to 1, (H, W) float32.

    What a moving object leaves behind is carried along by flow that does not agree: it has to look like the object.
    """
    fits = cv2.blur(fitting(step.cells, item.colours, item.around), (5, 5))
    return (2 * fits - 1) - np.where(carried & ~step.sure, np.float32(0.7), np.float32(0))


def _at_depth(item: FollowedObject, step: FrameStep, params: FollowingParams) -> np.ndarray:
    """Return the pixels whose depth may be the object's, or is unknown: (H, W) bool."""
    assert step.depth is not None
    low, high = item.depth * (1 - params.depth_gate), item.depth * (1 + params.depth_gate)
    if step.depth_before is not None and item.mask.any():
        own = step.depth_before[item.mask]
        own = own[own > 0]
        if len(own) >= _LEAST_PX:  # a long object reaches further than the gate, and is followed as it is
            low, high = min(low, 0.97 * np.quantile(own, 0.05)), max(high, 1.03 * np.quantile(own, 0.95))
    return (step.depth == 0) | ((step.depth >= low) & (step.depth <= high))


def _depth_votes(depth: np.ndarray, carried: np.ndarray, band: int) -> np.ndarray:
    """Return whether a pixel is of one surface with the nearest pixel inside: 0.3 if so, -0.8 if not, else 0."""
    inner = cv2.erode(carried.view(np.uint8), disk(max(1, band // 2))).view(bool) & (depth > 0)
    if not inner.any():
        return np.zeros(depth.shape, np.float32)
    distance, nearest = cv2.distanceTransformWithLabels(
        (~inner).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros(int(nearest.max()) + 1, np.float32)
    of_label[nearest[inner]] = depth[inner]
    beside = of_label[nearest]
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.abs(depth / beside - 1)
    one_surface = gap < 0.03 + 0.006 * distance
    return np.where(depth > 0, np.where(one_surface, 0.3, -0.8), 0.0).astype(np.float32)


def _standing_free(depth: np.ndarray, carried: np.ndarray, may: np.ndarray, band: int) -> np.ndarray:
    """Return the pixels around a mask that depth joins to it, and to nothing else: (H, W) bool.

    They are of the object whatever their colours: a side that has come into view, or a part that something hid.
    """
    surface = may & (depth > 0) & ~_depth_edges(depth)
    inner = carried & surface
    _, pieces = cv2.connectedComponents(surface.view(np.uint8), connectivity=4)
    own = np.zeros(int(pieces.max()) + 1, bool)
    own[pieces[inner]] = True
    own[0] = False
    joined = own[pieces]
    near = cv2.dilate(carried.view(np.uint8), disk(band)).view(bool)
    beyond = joined & ~near
    if beyond.any():
        away = cv2.distanceTransform((~beyond).view(np.uint8), cv2.DIST_L2, 5)
        joined &= away > 2 * band
    # The rim of one pixel, at which depth jumps, goes with it.
    return cv2.dilate((joined & near).view(np.uint8), np.ones((3, 3), np.uint8)).view(bool) & may & near


def _regrown(item: FollowedObject, mask: np.ndarray, step: FrameStep, params: FollowingParams) -> np.ndarray:
    """Return the mask with what comes into view of an object that was partly hidden: of one surface and its colours."""
    depth = step.depth
    assert depth is not None
    z = median_depth(depth, mask)
    if mask.sum() >= 0.85 * item.expected_area(z) or mask.sum() < _LEAST_PX or not z:
        return mask
    fits = fitting(step.cells, item.colours, item.around)
    fits = cv2.blur(fits, (3, 3))
    near = cv2.dilate(mask.view(np.uint8), disk(2 * params.band)).view(bool)
    may = near & (depth > 0) & (np.abs(depth / z - 1) < params.depth_gate) & (fits > 0.5)
    may &= ~_depth_edges(depth) | mask
    _, pieces = cv2.connectedComponents((may | mask).view(np.uint8), connectivity=4)
    own = np.unique(pieces[mask])
    return np.isin(pieces, own[own > 0])


def _depth_edges(depth: np.ndarray) -> np.ndarray:
    """Return where depth jumps to a neighbour: (H, W) bool."""
    high, low = (morph(depth, np.ones((3, 3), np.uint8)) for morph in (cv2.dilate, cv2.erode))
    return high - low > 0.06 * depth


def _lost(item: FollowedObject, step: FrameStep) -> FollowedObject:
    """Return the object as lost in this frame; where it was, something else is seen now."""
    empty = np.zeros_like(item.mask)
    shift = _background_shift(step, item.place, item.radius)
    hidden = cv2.dilate(step.carried(item.mask).view(np.uint8), disk(2)).view(bool)
    return replace(item, mask=empty, lost=1, place=item.place + shift + item.speed, hidden=hidden | step.uncovered)


def _background_shift(step: FrameStep, place: np.ndarray, radius: float) -> np.ndarray:
    """Return how far the picture has moved around a place: (2,) float64 px."""
    height, width = step.sure.shape
    x, y = np.clip(np.rint(place), 0, [width - 1, height - 1]).astype(int)
    reach = int(2 * radius) + 8
    return np.median(
        step.flow[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].reshape(-1, 2), axis=0
    ).astype(np.float64)


def _searched(item: FollowedObject, step: FrameStep, taken: np.ndarray, params: FollowingParams) -> FollowedObject:
    """Return an object that is lost: found again, or lost for one more frame."""
    hidden = step.carried(item.hidden) | step.uncovered
    lost = item.lost + 1
    place = item.place + _background_shift(step, item.place, item.radius) + item.speed
    waiting = replace(item, lost=lost, place=place, hidden=hidden)
    if step.depth is None or not item.depth or item.area < _LEAST_PX:
        return waiting  # by colour alone, a wrong patch is found as often as the object
    v, u = np.indices(hidden.shape, dtype=np.float32)
    near = np.hypot(u - place[0], v - place[1]) < item.radius + 4 * lost
    gate = min(0.3, params.depth_gate + 0.003 * lost)
    may = near & ~taken & (step.depth > 0) & (np.abs(step.depth / item.depth - 1) < gate)
    may &= cv2.dilate(hidden.view(np.uint8), disk(3)).view(bool)
    may &= cv2.blur(fitting(step.cells, item.colours, item.around), (3, 3)) > 0.5
    may &= ~_depth_edges(step.depth)
    best = _best_piece(item, may, step, params)
    if best is None:
        return waiting
    found = within_band(step.rgb, best, np.zeros_like(best), 2) | best
    found &= ~taken & (np.abs(step.depth / item.depth - 1) < gate)
    return replace(item.now(found, step.cells, step.depth, step.flow), hidden=np.zeros_like(hidden))


def _best_piece(item: FollowedObject, may: np.ndarray, step: FrameStep, params: FollowingParams) -> np.ndarray | None:
    """Return the piece (H, W) bool whose colours are most like the object's; None if none is like it."""
    may = cv2.morphologyEx(may.view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(may, connectivity=4)
    best, most = None, params.min_likeness
    for k in range(1, count):
        if stats[k, cv2.CC_STAT_AREA] < max(_LEAST_PX, 0.06 * item.area):
            continue
        piece = pieces == k
        alike = likeness(histogram(step.cells, piece), item.colours)
        if alike > most:
            best, most = piece, alike
    return best


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Return the distance to the mask's edge, (H, W) float32 px: positive inside."""
    inside = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 5)
    return inside - outside
