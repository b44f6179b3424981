"""`tapip3d`: one .npz in the form that TAPIP3D's inference reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geoflow.export.frames import Depths, cameras_of, frames_with_depth, pictures, posed_frames
from geoflow.export.npz import whole_npz
from geoflow.export.track_rows import tracks_of
from geoflow.store.reader import Video


def export_tapip3d(video: Video, out: Path, *, stride: int = 1, queries: bool = False) -> int:
    """Write `out`, an .npz of the T frames that have pose and depth; return T.

    `video` (T, H, W, 3) uint8 RGB; `depths` (T, H, W) float32, scene units, 0 where unknown; `intrinsics` (T, 3, 3)
    float32 px, pixel centres at integers; `extrinsics` (T, 4, 4) float32, world to camera, OpenCV axes; `frames` (T,)
    int64, the store's frame numbers. With `queries` also `query_point` (N, 4) float32: frame in this file and world
    point of each track that starts in one of its frames. `stride` N takes every N-th frame.

    Raises StoreError if no frame has pose and depth, if pixels cannot be read, or if queries are wanted from a store
    without tracks.
    """
    posed, depths = posed_frames(video, stride), Depths(video)
    frames, intrinsics = frames_with_depth(video, depths, posed)
    shape = (len(frames), video.height, video.width)
    with whole_npz(out) as npz:
        npz.stream("video", (*shape, 3), np.uint8, pictures(video, frames))
        npz.stream("depths", shape, np.float32, (depths[i][0] for i in frames))
        npz.array("intrinsics", intrinsics)
        npz.array("extrinsics", cameras_of(video).cam_from_world[frames])
        npz.array("frames", frames.astype(np.int64))
        if queries:
            query = tracks_of(video).query
            query = query[np.isin(query[:, 0], frames)].astype(np.float32)
            query[:, 0] = np.searchsorted(frames, query[:, 0])
            npz.array("query_point", query)
    return len(frames)
