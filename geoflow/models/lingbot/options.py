"""Options for the user; the sizes are those of the published program."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from geoflow.errors import ConfigError
from geoflow.models.lingbot.config import PATCH
from geoflow.models.lingbot.window_plan import WindowPlan

TRAINED = 320  # kept frames of a stream, as in training
_LONGEST_INTERVAL = 4  # that is chosen where windows are allowed


def _option(default: Any, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class StreamOptions:
    """Settings of one call of `Streamer.run`."""

    num_frames: int | None = _option(None, "frames to come, if that is known")
    room: int = _option(0, "kept frames to take room for at once, at least: then short videos take as much memory")
    scale_frames: int = _option(8, "first frames, which all see each other and are seen by all others")
    keyframe_interval: int | None = _option(
        None, "one frame of so many is seen by later ones; None: 1, or up to 4 where that spares a second window"
    )
    window_size: int | None = _option(TRAINED, "frames kept before a new window begins; None: one window, no end")
    overlap_keyframes: int = _option(8, "kept frames that a window begins with once more")
    sliding_window: int | None = _option(None, "kept frames that are seen with all tokens; None: as in training")
    camera_iterations: int | None = _option(None, "times that a pose is refined; None: as in training")
    flow_threshold: float = _option(0.0, "px of motion from which on a frame is kept, instead of an interval; 0: none")
    max_non_keyframe_gap: int = _option(30, "frames after which one is kept whatever the flow")
    fit: Literal["whole", "crop", "pad"] = _option("whole", "whole frames; crop, pad: as the original")
    side: int = _option(518, "px of the network's picture along the longer side, a multiple of 14")
    full_size: bool = _option(True, "depth and confidence in the frame's size, and not in the network's")

    def __post_init__(self) -> None:
        least = {"num_frames": 0, "room": 0, "overlap_keyframes": 0, "flow_threshold": 0, "side": PATCH}
        for row in dataclasses.fields(self):
            value = getattr(self, row.name)
            if isinstance(value, int | float) and not isinstance(value, bool) and not value >= least.get(row.name, 1):
                raise ConfigError(f"{row.name} should be at least {least.get(row.name, 1)}, found {value}")
        size, shared = self.window_size, max(self.scale_frames, self.overlap_keyframes)
        if size is not None and size <= shared + self.scale_frames:
            raise ConfigError(
                f"window_size should be above {shared + self.scale_frames} (what windows share, and a window's first "
                f"frames), found {size}"
            )

    def plan(self) -> WindowPlan:
        """Return how the video is divided: by default one window as long as training allows."""
        size, first, interval = self.window_size, self.scale_frames, self.keyframe_interval or 1
        if self.keyframe_interval is None and self.num_frames and not self.flow_threshold:
            room = (size or TRAINED) - first
            interval = max(1, math.ceil((self.num_frames - first) / room))
            interval = interval if size is None else min(interval, _LONGEST_INTERVAL)
        flow = (self.flow_threshold, self.max_non_keyframe_gap) if self.flow_threshold else None
        overlap = 0 if size is None else max(first, self.overlap_keyframes * interval)
        return WindowPlan(first, size, overlap, interval, flow)
