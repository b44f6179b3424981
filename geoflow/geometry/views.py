"""What single frames tell about a view: where it changes completely, and where it has too little texture to follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from geoflow.fields import VIEW_BARE, VIEW_CUT, VIEW_PLAIN
from geoflow.geometry.motion.point_tracks import follow
from geoflow.geometry.picture_size import shrunk_size

_WIDTH = 160  # px, of the longer side: enough to distinguish views; long strips keep more
_THUMB = (16, 12)
_ALIKE = 0.9  # correlation of thumbnails above which no closer look is needed
_POINTS, _SPACING = 80, 7.0
_LOST, _KEPT = 0.12, 0.4  # share of points found again: at most this over a cut, at least this on either side
_BY_CHANCE = 0.25  # of the points, those that unrelated pictures may have in common; up to 0.16 was seen
_LEAST_POINTS = 20
_REST = 0.5  # px: points within this have not moved; a frame that stirs by less shows no parallax either
_CONTRAST = 0.8  # grey levels per px in the weakest direction: smoothed noise has a third of it


def classify_views(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Give each of T frames (H, W, 3) uint8 one of geoflow.fields.VIEW_*: (T,) uint8.

    A cut: hardly any point of the frame before is found again, though points are followed well on either side. If the
    picture is blurred or shakes on either side, it is not a cut. Bare: too few places have texture in two directions
    for anything to be followed.

    >>> classify_views(np.full((2, 24, 32, 3), 90, np.uint8)).tolist()
    [2, 2]
    """
    grays = [_small(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)) for frame in frames]
    points = [_corners(gray) for gray in grays]
    bare = np.array([len(p) < _LEAST_POINTS for p in points])
    thumbs = [_thumbnail(gray) for gray in grays]
    code = np.where(bare, VIEW_BARE, VIEW_PLAIN).astype(np.uint8)
    for t in range(1, len(grays)):
        if bare[t - 1 : t + 1].any() or float((thumbs[t - 1] * thumbs[t]).sum()) > _ALIKE:
            continue
        beside = [_found_again(grays, points, s) for s in (t - 1, t + 1) if 0 < s < len(grays)]
        if beside and min(beside) >= _KEPT and _found_again(grays, points, t) <= _LOST:
            code[t] = VIEW_CUT
    return code


def is_bare(gray: np.ndarray) -> bool:
    """Return whether an image (H, W) uint8 has too little texture to follow anything in it."""
    return len(_corners(_small(gray))) < _LEAST_POINTS


@dataclass(frozen=True)
class ViewChange:
    """What two frames have in common, which need not be neighbours."""

    alike: float  # correlation of their thumbnails, -1 to 1
    found: float  # share of the first frame's points that are found again in the second
    at_rest: float  # share of the points found again that have not moved; 0 if none is found
    bare: bool  # one of the frames has too little texture for anything to be followed

    @property
    def is_other_view(self) -> bool:
        """Return whether hardly anything is found again: there is a cut in between, or the camera went far."""
        return not self.bare and self.alike <= _ALIKE and self.found <= _BY_CHANCE


def compare_views(before: np.ndarray, after: np.ndarray) -> ViewChange:
    """Compare two frames (H, W, 3) uint8 as `classify_views` does.

    >>> compare_views(*np.full((2, 24, 32, 3), 90, np.uint8)).bare
    True
    """
    gray_a, gray_b = (_small(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)) for frame in (before, after))
    alike = float((_thumbnail(gray_a) * _thumbnail(gray_b)).sum())
    points = _corners(gray_a)
    if min(len(points), len(_corners(gray_b))) < _LEAST_POINTS:
        return ViewChange(alike, 0.0, 0.0, bare=True)
    there, good = follow(gray_a, gray_b, points, points)
    stayed = np.linalg.norm(there - points, axis=1)[good] < _REST
    return ViewChange(alike, float(good.mean()), float(stayed.mean()) if good.any() else 0.0, bare=False)


def _small(gray: np.ndarray) -> np.ndarray:
    height, width = shrunk_size(gray.shape[0], gray.shape[1], _WIDTH)
    return cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA)


def _thumbnail(gray: np.ndarray) -> np.ndarray:
    thumb = cv2.resize(gray, _THUMB, interpolation=cv2.INTER_AREA).astype(np.float32)
    thumb -= thumb.mean()
    return thumb / max(float(np.linalg.norm(thumb)), 1e-6)


def _corners(gray: np.ndarray) -> np.ndarray:
    """Return places (N, 2) float32 px whose texture is above noise in every direction."""
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.0)
    found = cv2.goodFeaturesToTrack(smooth, _POINTS, 1e-4, _SPACING, blockSize=5)
    if found is None:
        return np.zeros((0, 2), np.float32)
    points = found.reshape(-1, 2)
    # The root of OpenCV's value for a slope of g per px in 8 bits: Sobel 8 g, over 4 * 5 * 255, summed over 25 px.
    slope = np.sqrt(np.maximum(cv2.cornerMinEigenVal(smooth, 5), 0)) * 127.5
    u, v = points.astype(int).T
    return points[slope[v, u] > _CONTRAST]


def _found_again(grays: list[np.ndarray], points: list[np.ndarray], t: int) -> float:
    """Return the share of the points of frame t - 1 that are found in frame t."""
    if not len(points[t - 1]):
        return 0.0
    return float(follow(grays[t - 1], grays[t], points[t - 1], points[t - 1])[1].mean())
