"""How well the depth of a posed video agrees with itself: with the depth and the pictures of its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from geoflow.geometry.picture_measures import SMALL
from geoflow.geometry.rigid import apply, invert

NEIGHBOURS = (3, 8)  # frames away, before and after: near enough to show the same, far enough to show parallax
_LEAST = 60  # points that two frames must share
_OCCLUDED = 0.15  # relative: a neighbour's surface nearer by more than this hides the point
_FLAT = 1.0  # grey levels of contrast below which a picture shows nothing to compare

DepthAt = Callable[[int], np.ndarray]  # a frame's number -> depth z (H, W), 0 where unknown


@dataclass(frozen=True)
class DepthAgreement:
    """Figures of T frames, (T,) float32 each; NaN where nothing can be compared: no pose, no depth, no neighbour."""

    gap: np.ndarray  # median relative difference of a point's depth and the depth that neighbours have of it
    photometric: np.ndarray  # correlation of the picture with its neighbours' at the same points, -1 to 1
    flicker: np.ndarray  # relative change of the depth of the same points from the frame before, as a whole
    parallax: np.ndarray  # median shift between neighbours beyond that of turning, in widths of the picture


@dataclass
class _Frame:
    depth: np.ndarray  # (H, W)
    xyz: np.ndarray  # (N, 3) world
    place: np.ndarray  # (N,) flat numbers of the pixels of the small picture
    camera: np.ndarray  # (3, 4): world to pixels of the full frame


def depth_agreement(
    depth_at: DepthAt,
    intrinsics: np.ndarray,
    cam_from_world: np.ndarray,
    valid: np.ndarray,
    small: np.ndarray | None = None,
) -> DepthAgreement:
    """Compare each frame with those of `NEIGHBOURS` before and after it, and with the frame before.

    `depth_at` gives depth in the unit of the poses; `intrinsics` (T, 3, 3) px are those of the depth, `cam_from_world`
    is (T, 4, 4), `valid` (T,) bool, `small` (T, *SMALL) uint8 the grey pictures; without them nothing is photometric.

    Points that the neighbour sees hidden by a nearer surface are left out. One frame and its neighbours are in memory
    at a time.
    """
    count = len(valid)
    seen = {name: np.full((count, len(NEIGHBOURS), 2), np.nan) for name in ("gap", "photometric", "parallax")}
    flicker = np.full(count, np.nan)
    frames = _Window(depth_at, intrinsics, cam_from_world, valid)
    for i in range(count):
        frame = frames.get(i)
        if frame is None:
            continue
        for k, j in _neighbours(i, count):  # k: which step, which side
            other = frames.get(j)
            if other is None or (met := _meet(frame, other)) is None:
                continue
            chosen, uv, z, there = met
            seen["gap"][(i, *k)] = np.median(np.abs(np.log(there / z)))
            seen["parallax"][(i, *k)] = _parallax(cam_from_world[i], cam_from_world[j], frame.xyz[chosen], uv, other)
            if small is not None:
                seen["photometric"][(i, *k)] = _alike(small[i], small[j], frame.place[chosen], uv, other.depth.shape)
        before = frames.get(i - 1) if i else None
        if before is not None and (met := _meet(frame, before)) is not None:
            _, _, z, there = met
            flicker[i] = abs(np.median(np.log(there / z)))
        frames.forget(i - max(NEIGHBOURS))
    gap, photometric, parallax = (_mean(seen[name]) for name in ("gap", "photometric", "parallax"))
    return DepthAgreement(gap, photometric, flicker.astype(np.float32), parallax)


class _Window:
    """Frames as they are needed: those that no later frame meets are forgotten."""

    def __init__(self, depth_at: DepthAt, intrinsics: np.ndarray, poses: np.ndarray, valid: np.ndarray) -> None:
        self._depth_at, self._k, self._poses, self._valid = depth_at, intrinsics, poses, valid
        self._held: dict[int, _Frame | None] = {}

    def get(self, i: int) -> _Frame | None:
        """Return frame i; None if it has no pose, no intrinsics, or hardly any depth."""
        if i not in self._held:
            self._held[i] = self._made(i)
        return self._held[i]

    def forget(self, i: int) -> None:
        self._held.pop(i, None)

    def _made(self, i: int) -> _Frame | None:
        k, pose = self._k[i].astype(np.float64), self._poses[i].astype(np.float64)
        if not (self._valid[i] and np.isfinite(k).all() and np.isfinite(pose).all()):
            return None
        depth = np.asarray(self._depth_at(i), np.float32)
        rows, columns = small_grid(*depth.shape)
        z = depth[rows[:, None], columns].ravel().astype(np.float64)
        place = np.flatnonzero(z > 0)
        if len(place) < _LEAST:
            return None
        v, u = np.divmod(place, SMALL[1])
        rays = np.linalg.solve(k, np.stack([columns[u], rows[v], np.ones(len(place))]))
        xyz = apply(invert(pose), (rays * z[place]).T)
        return _Frame(depth, xyz, place, k @ pose[:3])


def small_grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of a frame at the centres of the small picture's pixels, to the nearest pixel."""
    rows, columns = ((np.arange(n) + 0.5) * size / n - 0.5 for n, size in zip(SMALL, (height, width)))
    return np.rint(rows).astype(int).clip(0, height - 1), np.rint(columns).astype(int).clip(0, width - 1)


def _neighbours(i: int, count: int) -> Iterator[tuple[tuple[int, int], int]]:
    for k, step in enumerate(NEIGHBOURS):
        for side, j in enumerate((i - step, i + step)):
            if 0 <= j < count:
                yield (k, side), j


def _meet(frame: _Frame, other: _Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Return which points of a frame (M,) another one sees, their pixels (M, 2) and depth (M,) in it, and the depth
    (M,) that it has there itself. None if there are too few."""
    image = frame.xyz @ other.camera[:, :3].T + other.camera[:, 3]
    z = image[:, 2]
    uv = image[:, :2] / np.where(z > 0, z, 1)[:, None]
    height, width = other.depth.shape
    inside = (z > 0) & (uv > -0.5).all(1) & (uv < [width - 0.5, height - 0.5]).all(1)
    chosen = np.flatnonzero(inside)
    u, v = np.rint(uv[chosen]).astype(int).T
    there = other.depth[v, u].astype(np.float64)
    kept = there > (1 - _OCCLUDED) * z[chosen]
    if kept.sum() < _LEAST:
        return None
    return chosen[kept], uv[chosen[kept]], z[chosen[kept]], there[kept]


def _parallax(pose: np.ndarray, there: np.ndarray, xyz: np.ndarray, uv: np.ndarray, other: _Frame) -> float:
    """Return the median shift of points, beyond what turning the camera in its place gives, in picture widths."""
    center = invert(pose.astype(np.float64))[:3, 3]
    turned = (xyz - center) @ other.camera[:, :3].T  # as if the other camera stood where this one stands
    ahead = turned[:, 2] > 1e-9
    if not ahead.any():
        return np.nan
    shift = np.linalg.norm(turned[ahead, :2] / turned[ahead, 2:] - uv[ahead], axis=1)
    return float(np.median(shift) / other.depth.shape[1])


def _alike(here: np.ndarray, there: np.ndarray, place: np.ndarray, uv: np.ndarray, size: tuple[int, int]) -> float:
    """Return the correlation of two small pictures at the same points; NaN where one of them shows nothing."""
    import cv2

    height, width = size
    u = ((uv[:, 0] + 0.5) * SMALL[1] / width - 0.5).astype(np.float32)
    v = ((uv[:, 1] + 0.5) * SMALL[0] / height - 0.5).astype(np.float32)
    other = cv2.remap(there, u[:, None], v[:, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).ravel()
    a, b = here.ravel()[place].astype(np.float64), other.astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    spread = a.std() * b.std()
    return float((a * b).mean() / spread) if min(a.std(), b.std()) > _FLAT else np.nan


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the means over what is known: (T, K, 2) to (T,) float32; NaN where nothing is.

    Each of K steps counts alike, whether one or both of its sides are known: longer steps show more.
    """
    return known_mean(known_mean(values)).astype(np.float32)


def known_mean(values: np.ndarray) -> np.ndarray:
    """Return the means over the last axis of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    return np.where(known.any(-1), np.where(known, values, 0).sum(-1) / np.maximum(known.sum(-1), 1), np.nan)
