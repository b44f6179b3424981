"""The camera's first guess."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from vipe.streams.base import VideoFrame, VideoStream
from vipe.utils.cameras import CameraType

GUESS = 1.5  # widths


class GeoCalibIntrinsicsProcessor:
    """Looks at some frames, then says the same of each."""

    def __init__(self, video_stream: VideoStream, gap_sec: float = 1.0, camera_type: Any = None) -> None:
        assert camera_type is CameraType.PINHOLE and len(list(itertools.islice(video_stream, 3)))
        self.camera_type = camera_type

    def __call__(self, frame_idx: int, frame: VideoFrame) -> VideoFrame:
        height, width = frame.rgb.shape[:2]
        frame.intrinsics = torch.tensor([GUESS * width, GUESS * width, width / 2, height / 2])
        frame.camera_type = self.camera_type
        return frame
