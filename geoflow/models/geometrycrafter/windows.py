"""Overlapping windows of a long video."""

from __future__ import annotations

from collections.abc import Iterator


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
