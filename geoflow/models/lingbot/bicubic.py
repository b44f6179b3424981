"""Bicubic resizing of 8-bit pictures in fixed point: the numbers that Pillow gives, which the network was trained with.

A pixel is a weighted mean under a cubic (a = -0.5; Keys 1981), as wide as pixels are apart in the larger picture.
Weights have 22 bits behind the point. One direction is rounded to 8 bits before the other: the width first, except
where the height shrinks by more than twice as many pixels (as from Pillow 13 on).
"""

from __future__ import annotations

import functools

import numpy as np
from scipy.sparse import csr_array

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
    rows = picture.reshape(len(picture), -1).astype(np.int32)
    total = _weights(len(picture), length) @ rows
    total += 1 << (_BITS - 1)
    total >>= _BITS
    return np.clip(total, 0, 255).astype(np.uint8).reshape(length, *picture.shape[1:])


@functools.lru_cache(maxsize=8)
def _weights(old: int, new: int) -> csr_array:
    """Return the share of each of `old` pixels in each of `new`, (new, old) int32."""
    step = old / new
    spread = max(step, 1.0)
    ends, index, weights = [0], [], []
    for k in range(new):
        centre = (k + 0.5) * step
        first, last = max(int(centre - _REACH * spread + 0.5), 0), min(int(centre + _REACH * spread + 0.5), old)
        share = _cubic((np.arange(first, last) - centre + 0.5) / spread)
        share = share / share.sum() * (1 << _BITS)
        weights.append(np.trunc(share + np.copysign(0.5, share)).astype(np.int32))
        index.append(np.arange(first, last))
        ends.append(ends[-1] + last - first)
    return csr_array((np.concatenate(weights), np.concatenate(index), ends), shape=(new, old))


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _A
    return np.where(x < 1, near, np.where(x < _REACH, far, 0))
