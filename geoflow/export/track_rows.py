"""Tracks, one frame at a time, read in the tiles in which they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from geoflow.errors import StoreError
from geoflow.store.layout import TRACK_TILE
from geoflow.store.lazy import Tracks
from geoflow.store.reader import Video


@dataclass(frozen=True)
class TrackRow:
    """All tracks in one frame; unknown positions are NaN, and not visible."""

    i: int
    xyz: np.ndarray  # (N, 3) float32 world, scene units
    visible: np.ndarray  # (N,) bool
    uv: np.ndarray  # (N, 2) float32 px

    @property
    def seen(self) -> np.ndarray:
        """Return which tracks are visible and have a known pixel: (N,) bool."""
        return self.visible & np.isfinite(self.uv).all(-1)


def tracks_of(video: Video) -> Tracks:
    """Return the store's tracks. Raises StoreError if there are none."""
    if video.tracks is None or not len(video.tracks):
        raise StoreError(f"{video.path} holds no tracks; run a pipeline that has the slot tracks")
    return video.tracks


def track_rows(
    video: Video, chosen: np.ndarray | slice = slice(None), frames: np.ndarray | None = None
) -> Iterator[TrackRow]:
    """Yield the tracks in every frame, or in `frames`, in order; all tracks or only those `chosen`."""
    tracks = tracks_of(video)
    wanted = range(len(video)) if frames is None else set(frames.tolist())
    for start in range(0, len(video), TRACK_TILE[0]):
        part = slice(start, start + TRACK_TILE[0])
        xyz, visible, uv = tracks.xyz[part], tracks.visible[part], tracks.uv[part]
        for k in range(len(xyz)):
            if start + k not in wanted:
                continue
            known = np.isfinite(xyz[k]).all(-1)
            yield TrackRow(start + k, xyz[k][chosen], (visible[k] & known)[chosen], uv[k][chosen])


def most_seen(video: Video, most: int) -> np.ndarray:
    """Choose at most `most` tracks, those that are seen in most frames: their columns, rising (M,) int64."""
    visible, count = tracks_of(video).visible, len(tracks_of(video))
    if count <= most:
        return np.arange(count)
    seen = np.zeros(count, np.int64)
    for start in range(0, len(video), TRACK_TILE[0]):
        seen += visible[start : start + TRACK_TILE[0]].sum(0)
    return np.sort(np.argsort(-seen, kind="stable")[:most])


def spread_out(count: int, most: int) -> np.ndarray:
    """Choose at most `most` of `count` numbers, evenly spread: (M,) int64.

    >>> spread_out(10, 5)
    array([0, 2, 4, 6, 8])
    """
    return np.arange(count) if count <= most else np.arange(most) * count // most
