"""Sentences on objects that are lost in some frames, or not asked for yet."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from geoflow.fields import OBJECT_AWAITED, OBJECT_LOST


def object_remarks(state: np.ndarray | None) -> Iterator[str]:
    """Yield a sentence for every stretch of frames in which an object is not followed.

    `state` (T, 256) uint8 is `objects/state`, None if the store has none. Frames count from 0.

    >>> state = np.zeros((5, 256), np.uint8)
    >>> state[:, 3] = 3, 1, 2, 2, 1
    >>> for line in object_remarks(state): print(line)
    Object 3: frame 0 comes before its first prompt; that its labels show nothing there says nothing.
    Object 3 is lost in frames 2 to 3: hidden, out of the picture, or not found again.
    """
    if state is None:
        return
    for number in np.flatnonzero(state.any(0)).tolist():
        for start, stop, code in _stretches(state[:, number]):
            frames = f"frame {start}" if stop == start + 1 else f"frames {start} to {stop - 1}"
            if code == OBJECT_AWAITED:
                comes = "comes" if stop == start + 1 else "come"
                yield (
                    f"Object {number}: {frames} {comes} before its first prompt; that its labels show nothing there "
                    "says nothing."
                )
            elif code == OBJECT_LOST:
                until = ", to the end of the video" if stop == len(state) else ""
                yield f"Object {number} is lost in {frames}{until}: hidden, out of the picture, or not found again."


def _stretches(codes: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield start, stop and value of each run of equal values."""
    edges = [0, *(np.flatnonzero(codes[1:] != codes[:-1]) + 1).tolist(), len(codes)]
    for start, stop in pairwise(edges):
        if stop > start:
            yield start, stop, int(codes[start])
