"""Overlapping windows of a long video, and what comes of them in groups for the decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


def split_into_windows(num_frames: int, window: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Ranges [start, stop) of the windows; a video no longer than one window has one.

    >>> list(split_into_windows(11, 4, 2))
    [(0, 4), (2, 6), (4, 8), (6, 10), (8, 11)]
    """
    if num_frames <= window:
        yield 0, num_frames
        return
    for start in range(0, num_frames - overlap, window - overlap):
        yield start, min(start + window, num_frames)


def regroup(parts: Iterable[Any], size: int, joined: Callable[[list[Any]], Any]) -> Iterator[Any]:
    """Yield the same rows in groups of `size`; the last group may be shorter. `joined` puts arrays one behind another.

    >>> [len(group) for group in regroup(["12345", "67"], 3, "".join)]
    [3, 3, 1]
    """
    waiting: Any = None
    for part in parts:
        waiting = part if waiting is None else joined([waiting, part])
        while len(waiting) >= size:
            group, waiting = waiting[:size], waiting[size:]
            yield group
    if waiting is not None and len(waiting):
        yield waiting
