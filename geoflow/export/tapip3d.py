"""`tapip3d`: one .npz in the form that TAPIP3D's inference reads, or in that of its results, which its viewer opens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geoflow.export.frames import Depths, cameras_of, frames_with_depth, pictures, posed_frames
from geoflow.export.npz import NpzWriter, whole_npz
from geoflow.export.track_rows import track_rows, tracks_of
from geoflow.store.reader import Video


def export_tapip3d(video: Video, out: Path, *, stride: int = 1, queries: bool = False, result: bool = False) -> int:
    """Write `out`, an .npz of the T frames that have pose and depth; return T.

    `video` (T, H, W, 3) uint8 RGB; `depths` (T, H, W) float32, scene units, 0 where unknown; `intrinsics` (T, 3, 3)
    float32 px, pixel centres at integers; `extrinsics` (T, 4, 4) float32, world to camera, OpenCV axes; `frames` (T,)
    int64, the store's frame numbers. With `queries` also `query_point` (N, 4) float32: frame in this file and world
    point of each track that starts in one of its frames. `stride` N takes every N-th frame.

    With `result`, the form of the program's results: `video` (T, 3, H, W) float32, 0 to 1; `depths`, `intrinsics` and
    `extrinsics` as above; `coords` (T, N, 3) float32, world, and `visibs` (T, N) bool of the N tracks with a place;
    `query_points` (N, 4), whose frame is that of this file nearest to the track's own. That form has no unknown places:
    a track stays where it was last known, or was picked, and is not visible there.

    Raises StoreError if no frame has pose and depth, if pixels cannot be read, or if queries are wanted from a store
    without tracks.
    """
    posed, depths = posed_frames(video, stride), Depths(video)
    frames, intrinsics = frames_with_depth(video, depths, posed)
    shape = (len(frames), video.height, video.width)
    with whole_npz(out) as npz:
        if result:
            channels = (np.moveaxis(picture, -1, 0) / np.float32(255) for picture in pictures(video, frames))
            npz.stream("video", (len(frames), 3, *shape[1:]), np.float32, channels)
            _write_tracks(npz, video, frames)
        else:
            npz.stream("video", (*shape, 3), np.uint8, pictures(video, frames))
        npz.stream("depths", shape, np.float32, (depths[i][0] for i in frames))
        npz.array("intrinsics", intrinsics)
        npz.array("extrinsics", cameras_of(video).cam_from_world[frames])
        npz.array("frames", frames.astype(np.int64))
        if queries and not result:
            query = tracks_of(video).query
            query = query[np.isin(query[:, 0], frames)].astype(np.float32)
            query[:, 0] = np.searchsorted(frames, query[:, 0])
            npz.array("query_point", query)
    return len(frames)


def _write_tracks(npz: NpzWriter, video: Video, frames: np.ndarray) -> None:
    """Write the tracks with a place, in the form of the program's results."""
    query = tracks_of(video).query
    chosen = np.flatnonzero(np.isfinite(query).all(1))
    points = query[chosen].astype(np.float32)
    points[:, 0] = _nearest(frames, points[:, 0])
    npz.array("query_points", points)
    shape = (len(frames), len(chosen))

    def places() -> Iterator[np.ndarray]:
        last = query[chosen, 1:].astype(np.float32)
        for row in track_rows(video, chosen, frames):
            last = np.where(np.isfinite(row.xyz), row.xyz, last)
            yield last

    npz.stream("coords", (*shape, 3), np.float32, places())
    npz.stream("visibs", shape, bool, (row.visible for row in track_rows(video, chosen, frames)))


def _nearest(frames: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return which of the rising `frames` (T,) is nearest to each of `wanted` (N,), the earlier one of two: (N,)."""
    after = np.searchsorted(frames, wanted).clip(max=len(frames) - 1)
    before = (after - 1).clip(0)
    return np.where(wanted - frames[before] <= frames[after] - wanted, before, after)
