"""Frames with a pose: their pictures without lens distortion, and depth carried from one frame to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from geoflow.geometry.cameras import pixel_grid
from geoflow.geometry.rigid import invert

_CARRY_STEPS = 2
_LANDED_PX = 1.5  # allowed distance from the starting pixel; half of it is rounding
_LIKE = 20.0  # 8-bit levels by which the two pictures may differ there
_ALIKE_WINDOW = (9, 9)
_SAME_SURFACE = 0.05  # relative difference up to which two depths are of one surface


@dataclass(frozen=True)
class PosedView:
    """One frame at working size."""

    rgb: np.ndarray  # (h, w, 3) uint8
    gray: np.ndarray  # (h, w) uint8
    cam_from_world: np.ndarray  # (4, 4)
    ignore: np.ndarray | None = None  # (h, w) bool

    @property
    def unit(self) -> float:
        """Return the side length of the picture relative to 320x240."""
        return float(np.sqrt(self.gray.size / (320 * 240)))

    @cached_property
    def gradient(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the derivatives (h, w) float32 of `gray` across and down, 8-bit levels per px."""
        across, down = (cv2.Sobel(self.gray, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=0.125) for dx in (1, 0))
        return across, down


class Straightening:
    """Converts a camera's pictures to a pinhole camera's, at working size; without distortion they stay unchanged.

    `distortion` is up to five of OpenCV's coefficients, k1 first. `seen_as` (3, 3) is the pinhole camera, by default
    the same camera without its distortion.
    """

    def __init__(
        self,
        intrinsics: np.ndarray,
        distortion: Sequence[float],
        size: tuple[int, int],
        seen_as: np.ndarray | None = None,
    ) -> None:
        self.size = size
        self._straight = self._bent = None
        if any(distortion) or not (seen_as is None or np.array_equal(seen_as, intrinsics)):
            bend = np.array([*distortion, *[0] * (5 - len(distortion))], np.float64)
            k = np.asarray(intrinsics, np.float64)
            new = k if seen_as is None else np.asarray(seen_as, np.float64)
            self._bent = cv2.initUndistortRectifyMap(k, bend, None, new, size, cv2.CV_32FC1)
            uv = pixel_grid(size[1], size[0]).reshape(-1, 1, 2)
            straight = cv2.undistortPoints(uv, k, bend, P=new).reshape(size[1], size[0], 2)
            self._straight = straight[..., 0], straight[..., 1]

    def undistort(self, picture: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
        """Return a picture (h, w) as a pinhole camera would have seen it."""
        return picture if self._bent is None else cv2.remap(picture, *self._bent, interpolation)

    def distort(self, depth: np.ndarray) -> np.ndarray:
        """Return a pinhole camera's depth map (h, w) at the pixels of the real camera."""
        return depth if self._straight is None else cv2.remap(depth, *self._straight, cv2.INTER_NEAREST)


def carry(view: PosedView, known: Sequence[tuple[PosedView, np.ndarray]], k: np.ndarray) -> np.ndarray:
    """Return depth (h, w) of a view from other views' depth (h, w), the nearest view first; 0 where unknown.

    Pixels that look different in the two pictures are left out: something passes in front. Where the other views
    disagree, the nearer surface hides the further one.
    """
    result = np.zeros(view.gray.shape, np.float32)
    for other, depth in known:
        found = _seen_from(view, other, depth, k)
        ratio = np.where((found > 0) & (result > 0), found / np.maximum(result, 1e-6), 0)
        same = np.abs(ratio - 1) < _SAME_SURFACE
        hides = (ratio > 0) & (ratio <= 1 - _SAME_SURFACE)
        result = np.where(same, 0.5 * (found + result), np.where((result == 0) | hides, found, result))
    if view.ignore is not None:
        result[view.ignore] = 0
    return result.astype(np.float32)


def _seen_from(view: PosedView, other: PosedView, depth: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return another view's depth as seen from a view: for each pixel, its surface is searched along its ray."""
    if not (depth > 0).any():
        return np.zeros_like(depth)
    there, back = (a.cam_from_world @ invert(b.cam_from_world) for a, b in ((other, view), (view, other)))
    u, v = np.arange(depth.shape[1], dtype=np.float32), np.arange(depth.shape[0], dtype=np.float32)[:, None]
    guess = np.where(depth > 0, depth, np.float32(np.median(depth[depth > 0])))
    for _ in range(_CARRY_STEPS):
        x, y, _ = project(u, v, guess, there, k)
        x, y = np.rint(x), np.rint(y)
        found = cv2.remap(depth, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
        landed_x, landed_y, z = project(x, y, found, back, k)
        guess = np.where(found > 0, z, guess)
    near = (landed_x - u) ** 2 + (landed_y - v) ** 2 < _LANDED_PX**2
    picture = cv2.remap(other.gray, x, y, cv2.INTER_NEAREST)
    change = cv2.blur(cv2.subtract(picture, view.gray, dtype=cv2.CV_32F), _ALIKE_WINDOW)
    good = near & (found > 0)
    if good.any():
        good &= np.abs(change - np.median(change[good])) < _LIKE
    return np.where(good, z, 0)


def project(
    u: np.ndarray, v: np.ndarray, depth: np.ndarray, b_from_a: np.ndarray, k: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Project pixels u, v of view a at depth (h, w) into view b: its pixels x, y and depth z, float32 each."""
    turn = (k @ b_from_a[:3, :3] @ np.linalg.inv(k)).astype(np.float32)
    shift = (k @ b_from_a[:3, 3]).astype(np.float32)
    x, y, z = (depth * (turn[n, 0] * u + (turn[n, 1] * v + turn[n, 2])) + shift[n] for n in range(3))
    z = np.maximum(z, np.float32(1e-6))
    return x / z, y / z, z
