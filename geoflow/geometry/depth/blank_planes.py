"""Plane hypotheses for blank surfaces: what is measured in and around an even region tells its plane.

Inverse depth is linear in the pixels of a plane. A hypothesis is not a measurement: `multiview_depth` keeps it only
where another view confirms it.
"""

from __future__ import annotations

import cv2
import numpy as np

from geoflow.geometry.depth.posed_views import PosedView

_STEP = 2  # regions are found and planes are fitted at half the working size
_EVEN = 2.0  # 8-bit levels per px; regions of less change are taken for one surface
_LEAST_REGION = 75  # px at half size
_LEAST_UNKNOWN = 20  # px at half size, for a plane to be worth a fit
_LEAST_MEASURED = 50
_LEAST_ON_PLANE = 30
_MOST_MEASURED = 500  # an even sample of a larger region's pixels gives the same plane
_ON_PLANE = 0.05  # relative difference of inverse depth
_SHARE_ON_PLANE = 0.6  # of the measured pixels; with less, the region is no plane
_ON_A_LINE = 1e-6  # twice the area, in sides of the box, of three pixels that tell no plane
_TRIALS = 20
_MEASUREMENT = 100  # px at working size that share one error, since flow is fitted to windows
_SYSTEMATIC = 0.01  # relative error that no number of pixels reduces
_MAX_SIGMA = 0.05  # relative error of the plane beyond which a pixel stays unknown


def lay_planes(depth: np.ndarray, view: PosedView) -> np.ndarray:
    """Fill unknown depth of even regions by planes through the depth measured in them and at their rims.

    `depth` (h, w) float32, 0 where unknown; known pixels stay the same. A region stays as it is whose measured pixels
    lie on no common plane; so do pixels so far from them that the plane is uncertain there.
    """
    small = depth.shape[1] // _STEP, depth.shape[0] // _STEP
    change = cv2.blur(cv2.magnitude(*view.gradient), (3, 3))
    even = cv2.resize(change, small, interpolation=cv2.INTER_AREA) < _EVEN
    opened = cv2.morphologyEx(even.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    measured = cv2.resize(depth, small, interpolation=cv2.INTER_NEAREST)
    found = np.zeros_like(measured)
    for region in range(1, count):
        x, y, width, height, area = boxes[region]
        if area < _LEAST_REGION:
            continue
        window = slice(max(y - 1, 0), y + height + 1), slice(max(x - 1, 0), x + width + 1)
        inside = labels[window] == region
        found[window] += _plane_inside(measured[window], inside)
    whole = cv2.resize(found, depth.shape[::-1], interpolation=cv2.INTER_NEAREST)
    if view.ignore is not None:
        whole[view.ignore] = 0
    return np.where(depth > 0, depth, whole)


def _plane_inside(depth: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the plane's depth (h, w) float32 at the unknown pixels `inside` (h, w) bool; 0 where uncertain."""
    filled = np.zeros(depth.shape, np.float32)
    unknown = inside & (depth == 0)
    measured = (cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & (depth > 0)
    number = int(measured.sum())
    if unknown.sum() < _LEAST_UNKNOWN or number < _LEAST_MEASURED:
        return filled
    stride = max(1, number // _MOST_MEASURED)
    rows, inverse = _rows(measured)[::stride], 1 / depth[measured][::stride].astype(np.float64)
    fit = _fit(rows, inverse, stride)
    if fit is None:
        return filled
    plane, covariance = fit
    wanted = _rows(unknown)
    value = wanted @ plane
    sigma = np.sqrt(np.einsum("ni,ij,nj->n", wanted, covariance, wanted))
    filled[unknown] = np.where((value > 1e-3) & (sigma < _MAX_SIGMA * value), 1 / np.maximum(value, 1e-3), 0)
    return filled


def _rows(pixels: np.ndarray) -> np.ndarray:
    """Return (1, u, v) float64 of the chosen pixels (h, w) bool, u and v from the centre, in sides of the box."""
    height, width = pixels.shape
    v, u = np.nonzero(pixels)
    side = max(height, width)
    return np.stack([np.ones(len(u)), (u - width / 2) / side, (v - height / 2) / side], axis=1)


def _fit(rows: np.ndarray, inverse: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Fit a plane (3,) to inverse depths (N,) at rows (N, 3), with its covariance (3, 3); None if too few agree.

    RANSAC, then least squares over the pixels that agree.
    """
    drawn = np.random.default_rng(0).integers(0, len(rows), (_TRIALS, 3))
    drawn = drawn[np.abs(np.linalg.det(rows[drawn])) > _ON_A_LINE]
    if not len(drawn):
        return None
    trials = np.linalg.solve(rows[drawn], inverse[drawn][..., None])[..., 0]
    agree = np.abs(rows @ trials.T - inverse[:, None]) < _ON_PLANE * inverse[:, None]
    on = agree[:, agree.sum(0).argmax()]
    for _ in range(3):
        if on.sum() < _LEAST_ON_PLANE or on.mean() < _SHARE_ON_PLANE:
            return None
        plane = np.linalg.lstsq(rows[on], inverse[on], rcond=None)[0]
        gap = rows @ plane - inverse
        error = np.sqrt((gap[on] ** 2).mean()) + _SYSTEMATIC * inverse.mean()
        chosen = rows[on]
        on = np.abs(gap) < _ON_PLANE * inverse
    independent = max(1.0, _MEASUREMENT / (_STEP * _STEP * stride))
    return plane, np.linalg.inv(chosen.T @ chosen + 1e-9 * np.eye(3)) * error**2 * independent
