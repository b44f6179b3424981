"""The pipeline of pinhole cameras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vipe.streams.base import FrameAttribute, VideoFrame, VideoStream
from vipe.utils.cameras import CameraType

STEP, DEPTH = 0.1, 2.0
AREA = 384 * 512


class SE3:
    """Rigid motions (N,) as matrices."""

    def __init__(self, matrices: torch.Tensor) -> None:
        self._matrices = matrices

    def inv(self) -> SE3:
        return SE3(torch.linalg.inv(self._matrices))

    def matrix(self) -> torch.Tensor:
        return self._matrices


class SLAMMap:
    """Points (N, 3) of each keyframe in the world."""

    def __init__(self, points: list[torch.Tensor]) -> None:
        self._points = points

    def get_dense_disp_pcd(self, keyframe_idx: int, view_idx: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._points[keyframe_idx], torch.zeros_like(self._points[keyframe_idx])


@dataclass(kw_only=True)
class SLAMOutput:
    """The payload: world from camera, and the camera of each view, from the picture's edge."""

    trajectory: SE3
    intrinsics: torch.Tensor
    keyframe_ids: np.ndarray
    slam_map: SLAMMap

    def get_view_trajectory(self, view_idx: int) -> SE3:
        assert view_idx == 0
        return self.trajectory


@dataclass
class AnnotationPipelineOutput:
    """Nothing else is returned if the payload was asked for."""

    payload: Any = None


class DefaultAnnotationPipeline:
    """Begins with objects and the camera, as the original does."""

    return_payload = False
    camera_type = CameraType.PINHOLE

    def __init__(self, config: dict[str, str]) -> None:
        self.config = config
        Path(config["output.path"]).mkdir(exist_ok=True, parents=True)

    def _add_init_processors(self, video_stream: VideoStream) -> Any:
        assert FrameAttribute.INTRINSICS not in video_stream.attributes()
        raise AssertionError("the original looks for objects now")

    def run(self, video_data: VideoStream) -> AnnotationPipelineOutput:
        assert self.return_payload and isinstance(video_data, VideoStream) and video_data.fps() > 0
        assert self.config["init.instance"] == self.config["post.depth_align_model"] == "null"
        frames = self._add_init_processors(video_data).cache("process", online=True)
        assert len(frames) == len(video_data) and [f.raw_frame_idx for f in frames] == list(range(len(frames)))
        known = FrameAttribute.INTRINSICS in video_data.attributes()
        assert self.config["slam.optimize_intrinsics"] == ("false" if known else "true")
        for frame in frames:
            assert (
                tuple(frame.rgb.shape) == (*video_data.frame_size(), 3) and 0 <= frame.rgb.min() <= frame.rgb.max() <= 1
            )
            assert frame.rgb.dtype == torch.float32 and frame.intrinsics is not None
            assert frame.camera_type is self.camera_type
        return AnnotationPipelineOutput(_track(frames))


def _track(frames: list[VideoFrame]) -> SLAMOutput:
    poses = torch.eye(4).repeat(len(frames), 1, 1)
    poses[:, 0, 3] = STEP * torch.arange(len(frames))
    keyframes = np.array(sorted({*range(0, len(frames), 2), len(frames) - 1}))
    camera = frames[0].intrinsics
    assert camera is not None
    points = [_points(frames[k], camera) + poses[k, :3, 3] for k in keyframes]
    return SLAMOutput(trajectory=SE3(poses), intrinsics=camera[None], keyframe_ids=keyframes, slam_map=SLAMMap(points))


def _points(frame: VideoFrame, camera: torch.Tensor) -> torch.Tensor:
    """Every eighth pixel of the working size, as far as the frame's mask is not 0 there."""
    height, width = frame.rgb.shape[:2]
    factor = (AREA / (height * width)) ** 0.5
    tall, wide = int(height * factor), int(width * factor)
    top, left = tall % 8 // 2, wide % 8 // 2
    x = (8 * torch.arange(wide // 8) + left) * width / wide  # from the picture's edge
    y = (8 * torch.arange(tall // 8) + top) * height / tall
    v, u = torch.meshgrid(y, x, indexing="ij")
    if frame.mask is not None:
        there = frame.mask[v.long().clip(max=height - 1), u.long().clip(max=width - 1)]
        u, v = u[there], v[there]
    rays = torch.stack(((u - camera[2]) / camera[0], (v - camera[3]) / camera[1], torch.ones_like(u)), -1)
    return DEPTH * rays.reshape(-1, 3)
