"""`tapvid3d`: one .npz in the form of the TAPVid-3D benchmark (Koppula et al. 2024)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from geoflow.errors import StoreError
from geoflow.export.frames import cameras_of, jpeg, pictures, posed_frames
from geoflow.export.npz import NpzWriter, whole_npz
from geoflow.export.track_rows import track_rows, tracks_of
from geoflow.geometry.rigid import apply
from geoflow.store.reader import Video

_ZOOM = 0.05  # the format has one camera for all frames: focal lengths may differ from it by this share


@dataclass(frozen=True)
class _Start:
    """The frame and place where each exported track is first seen."""

    chosen: np.ndarray  # (N,) int64: columns of the store's tracks
    frame: np.ndarray  # (N,) int64: number among the exported frames
    uv: np.ndarray  # (N, 2) float32 px
    xyz: np.ndarray  # (N, 3) float32 world


def export_tapvid3d(video: Video, out: Path, *, stride: int = 1, quality: int = 95) -> int:
    """Write `out`, an .npz of the T posed frames and the N tracks that are seen in one of them; return T.

    `images_jpeg_bytes` (T,) bytes, JPEG of `quality`; `queries_xyt` (N, 3) float32, pixel and frame in which the track
    is first seen; `tracks_XYZ` (T, N, 3) float32, camera frame of each frame, scene units; `visibility` (T, N) bool;
    `fx_fy_cx_cy` (4,) float64, the median over the frames; `extrinsics_w2c` (T, 4, 4) float32; `frames` (T,) int64, the
    store's frame numbers. Pixels are the benchmark's: (0, 0) is the corner of the picture, not the centre of its first
    pixel. Where a track is unknown it stays at its last known place (before its start: where it starts) and is not
    visible. `stride` N takes every N-th frame.

    Raises StoreError without poses or tracks, if no track is seen in a posed frame, if pixels cannot be read, or if the
    focal length changes by more than 5 %, which the format cannot express.
    """
    tracks_of(video)
    frames = posed_frames(video, stride)
    camera = _one_camera(video, frames)
    start = _starts(video, frames)
    shape = (len(frames), len(start.chosen))
    cam_from_world = cameras_of(video).cam_from_world
    with whole_npz(out) as npz:
        _write_jpegs(npz, pictures(video, frames), len(frames), quality)
        xyz = (apply(cam_from_world[i], world) for i, world in _filled(video, frames, start))
        npz.stream("tracks_XYZ", (*shape, 3), np.float32, xyz)
        npz.stream("visibility", shape, bool, (row.visible for row in track_rows(video, start.chosen, frames)))
        npz.array("queries_xyt", np.column_stack([start.uv + 0.5, start.frame]).astype(np.float32))
        npz.array("fx_fy_cx_cy", camera)
        npz.array("extrinsics_w2c", cam_from_world[frames])
        npz.array("frames", frames.astype(np.int64))
    return len(frames)


def _one_camera(video: Video, frames: np.ndarray) -> np.ndarray:
    k = cameras_of(video).intrinsics[frames].astype(np.float64)
    all_four = np.stack([k[:, 0, 0], k[:, 1, 1], k[:, 0, 2] + 0.5, k[:, 1, 2] + 0.5], axis=1)
    one = np.median(all_four, axis=0)
    off = np.abs(all_four[:, :2] / one[:2] - 1).max()
    if off > _ZOOM:
        raise StoreError(
            f"{video.path} has focal lengths that differ by {off:.0%} from their median, and tapvid3d holds one "
            "camera for all frames; export another format, or cut the video where it zooms"
        )
    return one


def _starts(video: Video, frames: np.ndarray) -> _Start:
    count = len(tracks_of(video))
    first, uv, xyz = np.full(count, -1), np.zeros((count, 2), np.float32), np.zeros((count, 3), np.float32)
    for k, row in enumerate(track_rows(video, frames=frames)):
        new = row.seen & (first < 0)
        first[new], uv[new], xyz[new] = k, row.uv[new], row.xyz[new]
    chosen = np.flatnonzero(first >= 0)
    if not len(chosen):
        raise StoreError(f"{video.path} has no track that is seen in a posed frame; run with more frames or tracks")
    return _Start(chosen, first[chosen], uv[chosen], xyz[chosen])


def _filled(video: Video, frames: np.ndarray, start: _Start) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each frame, and its world points (N, 3) without NaN."""
    last = start.xyz.copy()
    for row in track_rows(video, start.chosen, frames):
        known = np.isfinite(row.xyz).all(-1)
        last[known] = row.xyz[known]
        yield row.i, last


def _write_jpegs(npz: NpzWriter, frames: Iterator[np.ndarray], count: int, quality: int) -> None:
    """Write JPEGs. numpy stores bytes with one length for all, known only at the end: they wait in a temporary file."""
    with tempfile.TemporaryFile() as waiting:
        sizes = [waiting.write(jpeg(rgb, quality)) for rgb in frames]
        waiting.seek(0)
        dtype = np.dtype(f"S{max(sizes)}")
        npz.stream("images_jpeg_bytes", (count,), dtype, _read_back(waiting, sizes, dtype))


def _read_back(waiting: IO[bytes], sizes: list[int], dtype: np.dtype) -> Iterator[np.ndarray]:
    for size in sizes:
        yield np.array([waiting.read(size)], dtype)
