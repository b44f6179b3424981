"""Places: what is kept of some frames of a walk, so that a later visit is found and checked without the pictures.

A place holds features with their points, as the frame's camera sees them, and a small picture with its depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geoflow.geometry.rigid import invert

FEATURES = 256  # of a place, at most
THUMB = 48  # px, the longer side of the small picture
_LEAST = 40  # features with depth, fewer of which cannot be verified
_MOVED = 0.12  # of the median depth, from one place to the next
_TURNED = np.radians(8.0)
_EDGE = 0.1  # relative range of depth around a feature, beyond which its depth is of an edge

Fields = dict[str, np.ndarray]


@dataclass(frozen=True)
class SeenPlace:
    """A frame as it is looked up: lengths are in scene units."""

    frame: int  # counted in the video
    uv: np.ndarray  # (K, 2) float32 px
    xyz: np.ndarray  # (K, 3) float32 in the frame's camera
    descriptor: np.ndarray  # (K, 128) uint8, RootSIFT times 512
    gray: np.ndarray  # (h, w) uint8
    depth: np.ndarray  # (h, w) float16, 0 where unknown
    size: tuple[int, int]  # of the frame, height and width, px

    @property
    def is_rich(self) -> bool:
        """Return whether it has enough features to be recognised."""
        return len(self.uv) >= _LEAST

    @classmethod
    def rows_of(cls, fields: Mapping[str, np.ndarray], size: tuple[int, int]) -> list[SeenPlace]:
        """Return the places of the fields `places.*`, without the rows that pad them."""
        found = []
        for p, frame in enumerate(fields["places.frame"]):
            held = np.isfinite(fields["places.xyz"][p]).all(1)
            uv, xyz, descriptor = (fields[f"places.{name}"][p][held] for name in ("uv", "xyz", "descriptor"))
            gray, depth = fields["places.gray"][p], fields["places.depth"][p]
            found.append(cls(int(frame), uv, xyz, descriptor, gray, depth, size))
        return found


def choose_frames(cam_from_world: np.ndarray, valid: np.ndarray, depth: np.ndarray) -> list[int]:
    """Return frames that show something new: the camera has moved or turned since the frame before them.

    cam_from_world (T, 4, 4), valid (T,) bool, and depth (T,) the median of each frame, 0 where unknown.
    """
    chosen: list[int] = []
    for t in np.flatnonzero(valid & (depth > 0)):
        if chosen:
            between = cam_from_world[t].astype(np.float64) @ invert(cam_from_world[chosen[-1]].astype(np.float64))
            turned = np.arccos(np.clip((np.trace(between[:3, :3]) - 1) / 2, -1, 1))
            if np.linalg.norm(between[:3, 3]) < _MOVED * depth[t] and turned < _TURNED:
                continue
        chosen.append(int(t))
    return chosen


def median_depths(depth: np.ndarray) -> np.ndarray:
    """Return the median known depth (T,) of maps (T, H, W); 0 of a map with hardly any."""
    found = np.zeros(len(depth))
    for t, frame in enumerate(depth):
        sample = frame[::7, ::7].astype(np.float32)
        sample = sample[sample > 0]
        found[t] = np.median(sample) if len(sample) >= 20 else 0  # fewer may be of a single thing
    return found


def describe(
    rgb: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, ignore: np.ndarray | None = None
) -> Fields | None:
    """Return a frame's place, by the names of `places.*` without a place's axis; None if it has too few features.

    rgb (H, W, 3) uint8, depth (H, W) of float16, 0 where unknown, intrinsics (3, 3) px; `ignore` (H, W) bool marks
    what moves. Rows beyond the frame's features are NaN, and their descriptors 0.
    """
    import cv2
    import pycolmap

    from geoflow.geometry.motion.picture_features import sift

    pycolmap.logging.minloglevel = 3  # it reports every picture otherwise
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    known = depth.astype(np.float32)
    if ignore is not None:
        known[ignore] = 0
    uv, described = sift(gray, ignore)
    z = _depth_at(known, uv)
    (rows,) = np.nonzero(z > 0)
    if len(rows) < _LEAST:
        return None
    rows = rows[np.linspace(0, len(rows) - 1, min(FEATURES, len(rows))).round().astype(int)]
    place: Fields = {
        "uv": np.full((FEATURES, 2), np.nan, np.float32),
        "xyz": np.full((FEATURES, 3), np.nan, np.float32),
        "descriptor": np.zeros((FEATURES, 128), np.uint8),
    }
    count = len(rows)
    place["uv"][:count] = uv[rows]
    centre, focal = intrinsics[:2, 2], intrinsics[[0, 1], [0, 1]]
    place["xyz"][:count, :2] = (uv[rows] - centre) / focal * z[rows, None]
    place["xyz"][:count, 2] = z[rows]
    place["descriptor"][:count] = np.clip(np.rint(described[rows]), 0, 255)
    height, width = _thumb(gray.shape)
    place["gray"] = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA)
    down, across = thumb_grid((height, width), gray.shape)
    place["depth"] = known[np.rint(down).astype(int)[:, None], np.rint(across).astype(int)].astype(np.float16)
    return place


def nowhere(size: tuple[int, ...]) -> Fields:
    """Return the arrays of no places, for frames of a size (height, width)."""
    thumb = _thumb(size)
    return {
        "uv": np.zeros((0, FEATURES, 2), np.float32),
        "xyz": np.zeros((0, FEATURES, 3), np.float32),
        "descriptor": np.zeros((0, FEATURES, 128), np.uint8),
        "gray": np.zeros((0, *thumb), np.uint8),
        "depth": np.zeros((0, *thumb), np.float16),
    }


def _thumb(size: tuple[int, ...]) -> tuple[int, int]:
    height, width = (max(1, round(side * THUMB / max(size))) for side in size[:2])
    return height, width


def thumb_grid(thumb: tuple[int, ...], size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (h,) and columns (w,) of a frame at the centres of its small picture's pixels."""
    down, across = ((np.arange(n) + 0.5) * full / n - 0.5 for n, full in zip(thumb, size))
    return down, across


def _depth_at(depth: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Return the depth (N,) at pixels uv (N, 2): the nearest pixel's, 0 where unknown or at an edge."""
    height, width = depth.shape
    u, v = np.rint(uv).astype(int).T
    around = [
        depth[np.clip(v + dv, 0, height - 1), np.clip(u + du, 0, width - 1)] for dv in (-2, 0, 2) for du in (-2, 0, 2)
    ]
    near, far = np.min(around, axis=0), np.max(around, axis=0)
    return np.where((near > 0) & (far < (1 + _EDGE) * near), around[4], 0)
