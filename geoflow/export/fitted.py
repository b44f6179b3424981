"""Frames of one size placed in a picture of another: scaled as a whole, at the upper left, the rest is empty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fitted:
    """How pictures of `inner` pixels, scaled from `of`, lie in pictures of `size`; each is (height, width)."""

    of: tuple[int, int]
    size: tuple[int, int]

    @property
    def inner(self) -> tuple[int, int]:
        scale = min(self.size[0] / self.of[0], self.size[1] / self.of[1])
        height, width = (max(1, min(round(scale * a), b)) for a, b in zip(self.of, self.size))
        return height, width

    @property
    def _factors(self) -> np.ndarray:
        """Return the factors of x and y, (2,) float64."""
        return np.array([self.inner[1] / self.of[1], self.inner[0] / self.of[0]])

    def picture(self, rgb: np.ndarray) -> np.ndarray:
        """Return a picture (H, W, 3) uint8; the rest is black."""
        import cv2

        return self._placed(rgb, cv2.INTER_AREA if self.inner[0] < self.of[0] else cv2.INTER_LINEAR)

    def depth(self, depth: np.ndarray) -> np.ndarray:
        """Return depth (H, W); the nearest pixel's, since depths must not mix, and 0 in the rest."""
        import cv2

        return self._placed(depth, cv2.INTER_NEAREST)

    def intrinsics(self, k: np.ndarray) -> np.ndarray:
        """Return the pinhole matrix (3, 3) float32 px of the picture. Pixel centres are at integers.

        >>> Fitted((48, 64), (24, 32)).intrinsics(np.array([[60, 0, 31.5], [0, 60, 23.5], [0, 0, 1]]))
        array([[30. ,  0. , 15.5],
               [ 0. , 30. , 11.5],
               [ 0. ,  0. ,  1. ]], dtype=float32)
        """
        if self.of == self.size:
            return k
        out = np.array(k, np.float64)
        out[:2, 2] += 0.5
        out[:2] *= self._factors[:, None]
        out[:2, 2] -= 0.5
        return out.astype(np.float32)

    def uv(self, uv: np.ndarray) -> np.ndarray:
        """Return pixels (..., 2) float32."""
        return uv if self.of == self.size else ((uv + 0.5) * self._factors - 0.5).astype(np.float32)

    def _placed(self, array: np.ndarray, interpolation: int) -> np.ndarray:
        import cv2

        if self.of == self.size:
            return array
        out = np.zeros((*self.size, *array.shape[2:]), array.dtype)
        height, width = self.inner
        out[:height, :width] = cv2.resize(array, (width, height), interpolation=interpolation)
        return out
