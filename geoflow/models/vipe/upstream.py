"""The tracker of the installed package `nvidia-vipe`, in memory: frames in, poses and keyframes' depth out.

Its calls are those of version 1.1: a configuration by `parse_typed_config`, a pipeline of it, a stream of ours for its
input, and the payload that the pipeline returns instead of writing files. It needs CUDA.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from vipe import make_pipeline
from vipe.config import parse_typed_config
from vipe.pipeline.processors import GeoCalibIntrinsicsProcessor
from vipe.streams.base import FrameAttribute, ProcessedVideoStream, VideoFrame, VideoStream
from vipe.utils.cameras import CameraType

from geoflow.errors import StageError
from geoflow.models.vipe.camera_start import CameraStart, camera_start, matrix_of
from geoflow.models.vipe.preparing import AREA, Fit, fit_of
from geoflow.models.vipe.slam import SlamResult

_LEAST_DEPTH = 1e-3  # in the tracker's unit; nearer points are behind the camera or on it

Frames = Callable[[], Iterable[tuple[np.ndarray, np.ndarray | None]]]


@dataclass(frozen=True)
class Clip:
    """What the tracker is given: `frames` gives, each time it is called, the pictures (H, W, 3) uint8 in order.

    With each comes a mask (H, W), True where pixels are to be ignored, or None.
    """

    name: str
    count: int
    size: tuple[int, int]  # height, width
    fps: float
    frames: Frames


class UpstreamTracker:
    """ViPE's own tracker on a device of torch, which is a GPU except for tests with another package of its name."""

    def __init__(self, device: str, keyframe_depth: str | None) -> None:
        """keyframe_depth names the network by which ViPE judges depth, as its configuration does; None: none."""
        self.device = device
        self.keyframe_depth = keyframe_depth

    def run(
        self, clip: Clip, intrinsics: np.ndarray | None = None, distortion: Sequence[float] | None = None
    ) -> SlamResult:
        """Track a clip. intrinsics (3, 3) in px; None: found, beginning with ViPE's own guess. distortion: OpenCV's.

        `quality` of the result is 0: ViPE says nothing of it. Raises StageError for an answer of another shape.
        """
        start = camera_start(intrinsics, distortion, clip.size, 1.0)
        stream = _Stream(clip, start, self.device)
        with tempfile.TemporaryDirectory() as folder:  # the pipeline makes its folder of results in any case
            config = parse_typed_config("default", hydra_args=self._overrides(folder, start.known))
            pipeline = make_pipeline(config.pipeline)
            pipeline.return_payload = True
            pipeline._add_init_processors = lambda given: _prepared(given, start.known, pipeline)
            payload = pipeline.run(stream).payload
        return _result(payload, clip, start)

    def _overrides(self, folder: str, known: bool) -> list[str]:
        return [
            "pipeline=default",
            f"pipeline.output.path='{folder}'",
            "pipeline.output.save_viz=false",
            "pipeline.output.save_artifacts=false",
            "pipeline.init.instance=null",
            "pipeline.post.depth_align_model=null",
            f"pipeline.slam.keyframe_depth={self.keyframe_depth or 'null'}",
            f"pipeline.slam.optimize_intrinsics={str(not known).lower()}",
        ]


def _prepared(stream: VideoStream, known: bool, pipeline: Any) -> ProcessedVideoStream:
    """Return a stream whose frames have a camera. Masks are in them already; ViPE would look for objects itself."""
    return ProcessedVideoStream(
        stream, [] if known else [GeoCalibIntrinsicsProcessor(stream, camera_type=pipeline.camera_type)]
    )


class _Stream(VideoStream):
    """A clip as ViPE reads it, of which one frame is held."""

    def __init__(self, clip: Clip, start: CameraStart, device: str) -> None:
        super().__init__()
        self._clip, self._start, self._device = clip, start, device

    def frame_size(self) -> tuple[int, int]:
        return self._clip.size

    def name(self) -> str:
        return self._clip.name

    def fps(self) -> float:
        return self._clip.fps

    def __len__(self) -> int:
        return self._clip.count

    def attributes(self) -> set[FrameAttribute]:
        return {FrameAttribute.INTRINSICS, FrameAttribute.CAMERA_TYPE} if self._start.known else set()

    def __iter__(self) -> Iterator[VideoFrame]:
        camera = torch.tensor(self._start.values, dtype=torch.float32, device=self._device)
        for number, (rgb, mask) in enumerate(self._clip.frames()):
            picture = torch.from_numpy(np.array(self._start.undistorted(rgb))).to(self._device)
            frame = VideoFrame(raw_frame_idx=number, rgb=picture.float() / 255)
            if self._start.known:
                frame.intrinsics, frame.camera_type = camera.clone(), CameraType.PINHOLE
            if mask is not None:
                frame.mask = torch.from_numpy(~self._start.undistorted(mask)).to(self._device)
            yield frame


def _result(payload: Any, clip: Clip, start: CameraStart) -> SlamResult:
    poses = payload.get_view_trajectory(0).inv().matrix().detach().cpu().numpy()
    if poses.shape != (clip.count, 4, 4):
        raise StageError(f"ViPE should return a pose for each of {clip.count} frames, found {poses.shape}")
    found = start.values if start.known else payload.intrinsics[0].detach().cpu().numpy().astype(np.float64)
    intrinsics = matrix_of(found)
    keyframes = np.asarray(payload.keyframe_ids, np.int64)
    points = [payload.slam_map.get_dense_disp_pcd(k, 0)[0].detach().cpu().numpy() for k in range(len(keyframes))]
    fit = fit_of(*clip.size, AREA, enlarge=True)
    depth = np.stack([depth_at_grid(xyz, intrinsics, poses[t], fit) for xyz, t in zip(points, keyframes)])
    return SlamResult(
        cam_from_world=poses.astype(np.float32),
        intrinsics=np.broadcast_to(intrinsics, (clip.count, 3, 3)).astype(np.float32),
        valid=np.isfinite(poses).all((1, 2)),
        keyframes=keyframes,
        keyframe_depth=depth,
        uncertainty=np.full(depth.shape, np.inf, np.float32),
        keyframe_uv=fit.grid_pixels().astype(np.float32),
        parallax=parallax_between(points, intrinsics, poses[keyframes]),
        quality=np.zeros(clip.count, np.float32),
        loops=np.zeros((0, 2), np.int64),
    )


def depth_at_grid(points: np.ndarray, intrinsics: np.ndarray, cam_from_world: np.ndarray, fit: Fit) -> np.ndarray:
    """Return the depth (h, w) float32 of a keyframe's world points (N, 3) at the grid that they came from, 0 elsewhere.

    ViPE's map has a point for some of the grid's pixels, and does not say for which: the pose says it.
    """
    grid = fit.grid_pixels()
    made: np.ndarray = np.zeros(grid.shape[:2], np.float32)
    local = points.astype(np.float64) @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]
    local = local[local[:, 2] > _LEAST_DEPTH]
    pixels = (local @ intrinsics.T)[:, :2] / local[:, 2:]
    step = np.array([grid[0, 1, 0] - grid[0, 0, 0], grid[1, 0, 1] - grid[0, 0, 1]])
    cells = np.rint((pixels - grid[0, 0]) / step).astype(int)
    column, row = cells[:, 0], cells[:, 1]
    inside = (row >= 0) & (row < made.shape[0]) & (column >= 0) & (column < made.shape[1])
    made[row[inside], column[inside]] = local[inside, 2]
    return made


def parallax_between(points: Sequence[np.ndarray], intrinsics: np.ndarray, cam_from_world: np.ndarray) -> float:
    """Return how far pixels move from a keyframe to the next by the camera's translation alone, px.

    It is the median of K - 1 pairs. points: K arrays (N, 3) in the world; cam_from_world (K, 4, 4).
    """
    found = []
    for xyz, (here, there) in zip(points, itertools.pairwise(cam_from_world)):
        local = xyz.astype(np.float64) @ here[:3, :3].T + here[:3, 3]
        turned = local @ (there[:3, :3] @ here[:3, :3].T).T
        moved = xyz @ there[:3, :3].T + there[:3, 3]
        seen = (local[:, 2] > _LEAST_DEPTH) & (turned[:, 2] > _LEAST_DEPTH) & (moved[:, 2] > _LEAST_DEPTH)
        if seen.any():
            pixels = [(part[seen] @ intrinsics.T)[:, :2] / part[seen, 2:] for part in (turned, moved)]
            found.append(float(np.linalg.norm(pixels[1] - pixels[0], axis=1).mean()))
    return float(np.median(found)) if found else 0.0
