"""What a user may ask of a video before it enters the pipeline."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geoflow.errors import ConfigError


@dataclass(frozen=True)
class ReadOptions:
    """How a source becomes frames; the same options hold for every input of a run.

    `intrinsics` are fx, fy, cx, cy in pixels of the source *as displayed*: what players show, after the cropping that
    its container states, upright and with square pixels, before any resizing. For a frame folder, which carries no
    times, `fps` is its rate and drops no frame.

    Raises ConfigError for values that can mean nothing.
    """

    fps: float | None = None  # resample to this rate, by the true time of the frames; never invents frames
    size: tuple[int, int] | None = None  # (width, height) of the processed frames, exactly
    long_side: int | None = None  # shrink so that the longer side is at most this; `size` overrides it
    limit: int | None = None  # stop after this many frames
    intrinsics: tuple[float, float, float, float] | None = None
    masks: str | None = None  # folder that holds a folder of masks per video
    stream: int | None = None  # number of the video stream in files that hold several; None: see `choose_stream`
    pattern: str | None = None  # of frame folders, take the pictures whose names match this, such as *.color.png

    def __post_init__(self) -> None:
        if self.stream is not None and self.stream < 0:
            raise ConfigError(f"stream should be a stream's number in its file, 0 or more; found {self.stream}")
        if self.pattern is not None and (not self.pattern or "/" in self.pattern):
            raise ConfigError(f"pattern should match names of pictures, such as '*.color.png'; found {self.pattern!r}")
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise ConfigError(f"fps should be a positive number, found {self.fps}")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ConfigError(f"size should be a positive width and height such as 640x360, found {self.size}")
        if self.long_side is not None and self.long_side < 1:
            raise ConfigError(f"long_side should be at least 1, found {self.long_side}")
        if self.limit is not None and self.limit < 2:
            raise ConfigError(f"limit should be at least 2, since depth is read from motion; found {self.limit}")
        if self.intrinsics is not None:
            _check_intrinsics(self.intrinsics)


def _check_intrinsics(intrinsics: tuple[float, float, float, float]) -> None:
    whole = len(intrinsics) == 4 and all(math.isfinite(value) for value in intrinsics)
    if not whole or min(intrinsics[:2]) <= 0:
        raise ConfigError(f"intrinsics should be fx,fy,cx,cy in pixels with positive fx and fy, found {intrinsics}")


def processed_size(height: int, width: int, options: ReadOptions) -> tuple[int, int]:
    """Height and width of the processed frames, from those of the source as displayed.

    >>> processed_size(1080, 1920, ReadOptions(long_side=640))
    (360, 640)
    >>> processed_size(120, 160, ReadOptions(long_side=640))
    (120, 160)
    """
    if options.size is not None:
        return options.size[1], options.size[0]
    if options.long_side is None or max(height, width) <= options.long_side:
        return height, width
    scale = options.long_side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def scale_intrinsics(
    intrinsics: tuple[float, float, float, float], scale_x: float, scale_y: float
) -> tuple[float, float, float, float]:
    """Carry fx, fy, cx, cy to a resized image.

    Pixel centres are at integer coordinates, so an image spans [-0.5, width - 0.5) and a point moves to
    u' = (u + 0.5) * scale - 0.5.

    >>> scale_intrinsics((100.0, 100.0, 31.5, 23.5), 0.5, 0.5)
    (50.0, 50.0, 15.5, 11.5)
    """
    fx, fy, cx, cy = intrinsics
    return fx * scale_x, fy * scale_y, (cx + 0.5) * scale_x - 0.5, (cy + 0.5) * scale_y - 0.5
