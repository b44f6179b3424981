"""Depth of one frame by plane sweep: a second opinion beside the depth from optical flow.

Other frames' pictures are projected onto planes of constant inverse depth before the frame (Collins 1996), and compared
with its picture. Costs are summed along the rows and columns as in semi-global matching (Hirschmueller 2008), with
cheap steps of depth at edges of the picture. The poses are taken for true, so that no match lies off its epipolar line.
Flow errs where it slides over weak texture and at silhouettes; the sweep errs where nothing can be told. They seldom
err alike, and `reconcile` keeps what both say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from geoflow.geometry.cameras import resize_intrinsics
from geoflow.geometry.depth.posed_views import PosedView
from geoflow.geometry.rigid import invert

_PIXELS = 240 * 180  # of the sweep's pictures at most; half the usual working size
_PLANES = 64
_NEAREST, _FURTHEST = 0.6, 2.0  # times the 2nd and the 98th percentile of the points' depths: the range of the planes
_CONTRAST_WINDOW = (7, 7)
_NOISE = 4.0  # 8-bit levels of contrast that count as much as noise
_CONTRAST_SCALE = 48.0  # units of cost per standard deviation of the picture's contrast
_MIDDLE = 128
_MOST_COST = 80  # of one pixel: what is covered in another view costs no more
_ONE_SIDE = 1.25  # ratio of costs at which the views before or after a frame are believed alone
_MATCH_WINDOW = (3, 3)
_FINE = 4  # units of the summed costs per unit of cost
_SMALL_STEP = 12  # summed cost of a change by one plane, from pixel to pixel
_LARGE_STEP = 120  # the same of any larger change where the picture is even
_EDGE_LEVELS = 8.0  # levels of difference between two pixels that halve the cost of a large change
_VALLEY_WINDOW = (5, 5)
_VALLEY_COST = 4.0  # planes that cost at most this much more than the best one cannot be told from it
_ALIKE = 0.1  # relative difference up to which flow and sweep agree
_SURE = 0.2  # relative width of the valley up to which the sweep is believed alone


@dataclass(frozen=True)
class Swept:
    """Depth of a frame, and how well the pictures tell it."""

    depth: np.ndarray  # (h, w) float32, 0 where no plane within the range is the best
    uncertainty: np.ndarray  # (h, w) float32: inverse depths that cannot be told apart, relative to the best one


def sweep(
    view: PosedView, before: Sequence[PosedView], after: Sequence[PosedView], k: np.ndarray, points: np.ndarray
) -> Swept:
    """Sweep planes through a scene of `points` (M, 3) world, M > 0, before a view with intrinsics `k` (3, 3).

    `before` and `after` are the views to compare, on the two sides of its path: what one side does not see behind a
    silhouette, the other one sees.
    """
    height, width = view.gray.shape
    factor = min(1.0, float(np.sqrt(_PIXELS / (width * height))))
    size = max(1, round(factor * width)), max(1, round(factor * height))
    small_k = resize_intrinsics(k, size[0] / width, size[1] / height)
    planes = _planes(view, points)
    cost = _costs(view, [side for side in (before, after) if side], small_k, planes, size)
    place = _smoothest(cost, cv2.resize(view.rgb, size, interpolation=cv2.INTER_AREA))
    inverse = planes[0] + place * (planes[1] - planes[0])
    inside = (place >= 0.5) & (place <= _PLANES - 1.5)
    uncertainty = _valley(cost, np.rint(place).astype(int)) * (planes[1] - planes[0]) / inverse
    depth, uncertainty = (
        cv2.resize(x.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
        for x in (np.where(inside, 1 / inverse, 0), uncertainty)
    )
    if view.ignore is not None:
        depth[view.ignore] = 0
    return Swept(depth, uncertainty)


def reconcile(flow_depth: np.ndarray, swept: Swept) -> np.ndarray:
    """Combine depth from flow (h, w) float32, 0 unknown, with swept depth: (h, w) float32, 0 unknown.

    Where the two agree, their inverse depths are averaged. Where they do not, or there is only the sweep's, that one
    counts if it is certain. Depth from flow alone stays where the sweep finds nothing within its range.
    """
    other = swept.depth
    both = (flow_depth > 0) & (other > 0)
    inverse, other_inverse = 1 / np.maximum(flow_depth, 1e-6), 1 / np.maximum(other, 1e-6)
    alike = both & (np.abs(inverse - other_inverse) < _ALIKE * inverse)
    depth = np.where(alike, 2 / (inverse + other_inverse), np.where(both, 0, flow_depth))
    certain = (other > 0) & ~alike & (swept.uncertainty < _SURE)
    return np.where(certain, other, depth).astype(np.float32)


def _planes(view: PosedView, points: np.ndarray) -> np.ndarray:
    """Return the inverse depths (D,) to try, ascending."""
    z = points @ view.cam_from_world[2, :3] + view.cam_from_world[2, 3]
    near, far = np.percentile(z[z > 0], (2, 98)) if (z > 0).any() else (1.0, 1.0)
    return np.linspace(1 / (far * _FURTHEST), 1 / (near * _NEAREST), _PLANES)


def _contrast(view: PosedView, size: tuple[int, int]) -> np.ndarray:
    """Return the picture's local contrast at `size` (width, height): (h, w) uint8, 0 where it is to be ignored.

    It has the same scale everywhere, whatever the exposure and the blur, but noise stays small.
    """
    gray = cv2.resize(view.gray, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    mean = cv2.blur(gray, _CONTRAST_WINDOW)
    variance = cv2.blur(gray * gray, _CONTRAST_WINDOW) - mean * mean
    contrast = (gray - mean) / (np.sqrt(np.maximum(variance, 0)) + _NOISE)
    picture = np.clip(_MIDDLE + _CONTRAST_SCALE * contrast, 1, 255).astype(np.uint8)
    if view.ignore is not None:
        picture[cv2.resize(view.ignore.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0] = 0
    return picture


def _costs(
    view: PosedView,
    sides: Sequence[Sequence[PosedView]],
    k: np.ndarray,
    planes: np.ndarray,
    size: tuple[int, int],
) -> np.ndarray:
    """Return the cost (D, h, w) float32 of every plane at every pixel."""
    own = _contrast(view, size)
    compared = [[(_contrast(other, size), *_through_planes(view, other, k)) for other in side] for side in sides]
    cost = np.empty((len(planes), *own.shape), np.float32)
    for layer, inverse in zip(cost, planes):  # plane by plane, since small arrays stay in the processor's cache
        sums = [_compare(own, side, inverse) for side in compared]
        cv2.blur(_cheapest(sums, own.shape), _MATCH_WINDOW, dst=layer)
    return cost


def _through_planes(view: PosedView, other: PosedView, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the homography (3, 3) from a view to another one through infinity, and its change per inverse depth."""
    relative = other.cam_from_world @ invert(view.cam_from_world)
    return k @ relative[:3, :3] @ np.linalg.inv(k), np.outer(k @ relative[:3, 3], (0, 0, 1))


def _compare(
    own: np.ndarray, others: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], inverse: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the summed cost of a plane over other pictures, and how many show it: (h, w) float32 each."""
    total, seen = np.zeros(own.shape, np.float32), np.zeros(own.shape, np.float32)
    for picture, infinity, change in others:
        warped = cv2.warpPerspective(
            picture, infinity + inverse * change, own.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        shown = (warped > 0).view(np.uint8)
        cv2.accumulate(cv2.min(cv2.absdiff(warped, own), _MOST_COST), total, shown)
        cv2.accumulate(shown, seen)
    return total, seen


def _cheapest(sides: Sequence[tuple[np.ndarray, np.ndarray]], shape: tuple[int, ...]) -> np.ndarray:
    """Return the mean cost (h, w) float32 over all views, or over one side's where that is much smaller."""
    total = sum((part for part, _ in sides), np.zeros(shape, np.float32))
    seen = sum((number for _, number in sides), np.zeros(shape, np.float32))
    cost = np.where(seen > 0, total / np.maximum(seen, 1), np.float32(_MOST_COST / 2))
    if len(sides) == 2:
        for part, number in sides:
            alone = _ONE_SIDE * part / np.maximum(number, 1) + 1
            np.minimum(cost, alone, out=cost, where=number > 0)
    return cost


def _smoothest(cost: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Return the best plane of each pixel with its neighbours in view, between two planes: (h, w) float32.

    `cost` is (D, h, w), `picture` (h, w, 3) uint8.
    """
    volume = np.ascontiguousarray(np.moveaxis((_FINE * cost).astype(np.uint16), 0, 2))
    levels = picture.astype(np.float32)
    down, across = (np.abs(np.diff(levels, axis=axis)).max(-1) for axis in (0, 1))
    total = _along_rows(volume, down)
    total += np.swapaxes(_along_rows(np.ascontiguousarray(np.swapaxes(volume, 0, 1)), across.T), 0, 1)
    best = total.argmin(2)
    inner = np.clip(best, 1, len(cost) - 2)[..., None]
    low, mid, high = (np.take_along_axis(total, inner + o, 2)[..., 0].astype(np.float32) for o in (-1, 0, 1))
    offset = np.clip((low - high) / np.maximum(2 * (low - 2 * mid + high), 1e-3), -0.5, 0.5)
    return best + np.where(best == inner[..., 0], offset, 0)


def _along_rows(cost: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Sum costs (n, m, D) uint16 from row to row, both ways; `difference` (n - 1, m) levels lies between the rows."""
    steps = np.maximum(_LARGE_STEP / (1 + difference / _EDGE_LEVELS), 1.5 * _SMALL_STEP).astype(np.uint16)[..., None]
    small = np.uint16(_SMALL_STEP)
    total = np.zeros_like(cost)
    for costs, large, sums in ((cost, steps, total), (cost[::-1], steps[::-1], total[::-1])):
        path = costs[0]
        sums[0] += path
        for i in range(1, len(costs)):
            lowest = path.min(1, keepdims=True)
            best = np.minimum(path, lowest + large[i - 1])
            np.minimum(best[:, 1:], path[:, :-1] + small, out=best[:, 1:])
            np.minimum(best[:, :-1], path[:, 1:] + small, out=best[:, :-1])
            path = costs[i] + best - lowest
            sums[i] += path
    return total


def _valley(cost: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Return how many planes cost hardly more than the best one (h, w): (h, w) float32."""
    wide = np.stack([cv2.blur(layer, _VALLEY_WINDOW) for layer in cost])
    limit = np.take_along_axis(wide, best.clip(0, len(cost) - 1)[None], axis=0)[0] + np.float32(_VALLEY_COST)
    count = np.zeros(best.shape, np.float32)
    for layer in wide:
        count += layer <= limit
    return count
