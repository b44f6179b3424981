"""Data that every format reads from a store, one frame at a time: posed frames, depth, pixels and points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from geoflow.errors import StoreError
from geoflow.geometry.cameras import unproject
from geoflow.geometry.rigid import apply, invert
from geoflow.store.lazy import Cameras, Lazy
from geoflow.store.reader import Video
from geoflow.store.source_frames import source_frames

_DECODED = 16  # frames decoded at once if the store has no pixels: each batch first seeks to a key frame


@dataclass(frozen=True)
class Written:
    """What a format says of what it wrote."""

    frames: int  # of the store that went in
    said: str  # of the result, for people


def cameras_of(video: Video) -> Cameras:
    """Return the store's cameras. Raises StoreError if there are none."""
    if video.cameras is None:
        raise StoreError(f"{video.path} holds no cameras; run a pipeline that has the slot camera")
    return video.cameras


def posed_frames(video: Video, stride: int = 1) -> np.ndarray:
    """Return the frames with a full pose and known intrinsics, every `stride`-th of the video: (M,) int64, rising.

    Raises StoreError if there is none.
    """
    cameras = cameras_of(video)
    whole = np.isfinite(cameras.cam_from_world).all((1, 2)) & np.isfinite(cameras.intrinsics).all((1, 2))
    frames = np.flatnonzero(cameras.valid & whole)
    frames = frames[frames % stride == 0]
    if not len(frames):
        why = " ".join(video.remarks) or "no frame has both a pose and known intrinsics."
        raise StoreError(f"{video.path} has no posed frame to export: {why} A moving camera gives poses")
    return frames


def has_depth(video: Video) -> bool:
    return "geometry/depth" in video.file or "camera/depth" in video.file


class Depths:
    """The depth to export: for each frame the geometry's if it has any, else the camera branch's.

    Raises StoreError if the store has neither.
    """

    def __init__(self, video: Video) -> None:
        if not has_depth(video):
            raise StoreError(f"{video.path} holds no depth; run a pipeline that has the slot geometry or camera")
        # Datasets are looked up once: finding a dataset by name takes longer than reading a small frame.
        self._branches: list[tuple[Lazy, np.ndarray]] = []
        if "geometry/depth" in video.file:
            self._branches.append((video.depth, video.intrinsics))
        if "camera/depth" in video.file:
            self._branches.append((video.camera_depth, cameras_of(video).intrinsics))

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return depth z of frame i, (H, W) float32 scene units, 0 where unknown, and its pinhole matrix, (3, 3) px."""
        for depth, intrinsics in self._branches:
            found = depth[int(i)], intrinsics[i]
            if found[0].any():
                break
        return found


def frames_with_depth(video: Video, depths: Depths, frames: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames of `frames` with some known depth, (M,) int64, and their intrinsics, (M, 3, 3) float32 px.

    Raises StoreError if there is none.
    """
    kept, under = [], []
    for i in frames:
        depth, intrinsics = depths[i]
        if depth.any() and np.isfinite(intrinsics).all():
            kept.append(i)
            under.append(intrinsics)
    if not kept:
        raise StoreError(
            f"{video.path} has no frame with depth under a known camera; `geoflow info` says what it holds"
        )
    return np.array(kept), np.stack(under)


def lifted(video: Video, depths: Depths, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Return world points of the K pixels with depth in frame i, (K, 3) float32, and their mask, (H, W) bool."""
    depth, intrinsics = depths[i]
    keep = depth > 0
    world_from_cam = invert(cameras_of(video).cam_from_world[i])
    return apply(world_from_cam, unproject(depth, intrinsics)[keep]).astype(np.float32), keep


def pictures(video: Video, frames: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
    """Yield the frames' pixels, (H, W, 3) uint8 RGB: from the store, else by decoding the source again.

    Raises StoreError if the store holds no frames and its source is missing or has changed.
    """
    if "frames/rgb" in video.file:
        stored = video.field("frames.rgb")
        for i in frames:
            yield stored[int(i)]
        return
    for start in range(0, len(frames), _DECODED):
        yield from source_frames(video, video.frame_index[np.asarray(frames[start : start + _DECODED])])


def jpeg(rgb: np.ndarray, quality: int) -> bytes:
    """Encode a picture (H, W, 3) uint8 RGB as a JPEG file."""
    import cv2

    done, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise StoreError(f"a picture of shape {rgb.shape} could not be encoded as JPEG")
    return data.tobytes()
