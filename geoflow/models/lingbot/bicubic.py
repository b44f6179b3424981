"""Bicubic resizing of 8-bit pictures in fixed point: the numbers that Pillow gives, which the network was trained with.

A pixel is a weighted mean under a cubic (a = -0.5; Keys 1981), as wide as pixels are apart in the larger picture.
Weights have 22 bits behind the point. One direction is rounded to 8 bits before the other: the width first, except
where the height shrinks by more than twice as many pixels (as from Pillow 13 on).
"""

from __future__ import annotations

import functools
import math

import numpy as np

_BITS = 22
_A = -0.5
_REACH = 2.0  # of the cubic, in pixels


def resize(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return (h, w, 3) uint8 of a picture (H, W, 3) uint8."""
    lost = [old - new for old, new in zip(rgb.shape, size)]
    for axis in (0, 1) if lost[0] > max(0, 2 * lost[1]) else (1, 0):  # the order shows in the last bit
        if lost[axis]:
            rgb = np.moveaxis(_along_first(np.moveaxis(rgb, axis, 0), size[axis]), 0, axis)
    return rgb


def _along_first(picture: np.ndarray, length: int) -> np.ndarray:
    index, weights = _taps(len(picture), length)
    total = np.full((length, *picture.shape[1:]), 1 << (_BITS - 1), np.int32)
    for column in range(index.shape[1]):
        total += picture[index[:, column]] * weights[:, column, None, None]
    return np.clip(total >> _BITS, 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=8)
def _taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of `old` pixels make each of `new`, (new, N), and their weights, (new, N) int32."""
    step = old / new
    spread = max(step, 1.0)
    reach = _REACH * spread
    count = math.ceil(reach) * 2 + 1
    index, weights = np.zeros((new, count), np.intp), np.zeros((new, count), np.int32)
    for k in range(new):
        centre = (k + 0.5) * step
        first, last = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), old)
        share = _cubic((np.arange(first, last) - centre + 0.5) / spread)
        share = share / share.sum() * (1 << _BITS)
        index[k, : last - first] = np.arange(first, last)
        weights[k, : last - first] = np.trunc(share + np.copysign(0.5, share))
    return index, weights


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _A
    return np.where(x < 1, near, np.where(x < _REACH, far, 0))
