"""Frames, and streams of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch

from vipe.utils.cameras import CameraType


class FrameAttribute(Enum):
    """What frames may have beside their picture."""

    INTRINSICS = "intrinsics"
    CAMERA_TYPE = "camera_type"
    MASK = "mask"


@dataclass(kw_only=True)
class VideoFrame:
    """rgb (H, W, 3) in 0..1; intrinsics fx, fy, cx, cy from the picture's edge; mask (H, W), 0 where invalid."""

    raw_frame_idx: int
    rgb: torch.Tensor
    camera_type: CameraType | None = None
    intrinsics: torch.Tensor | None = None
    mask: torch.Tensor | None = None


class VideoStream(torch.utils.data.IterableDataset):
    """What the pipeline is given."""

    def attributes(self) -> set[FrameAttribute]:
        return set()


class ProcessedVideoStream(VideoStream):
    """A stream whose frames processors change."""

    def __init__(self, stream: VideoStream, processors: list[Any]) -> None:
        self.stream, self.processors = stream, processors

    def cache(self, desc: str, online: bool = False) -> list[VideoFrame]:
        return list(self)

    def __iter__(self) -> Iterator[VideoFrame]:
        for number, frame in enumerate(self.stream):
            for processor in self.processors:
                frame = processor(number, frame)
            yield frame
