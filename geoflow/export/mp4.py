"""An H.264 video, written a frame at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.errors import StoreError
from geoflow.video.colour import BT601

_SLOWEST, _FASTEST = 1e-7, 1e6  # 1/s
_MOST = 2e9


def write_mp4(
    path: Path,
    pictures: Iterable[np.ndarray],
    fps: Fraction,
    *,
    crf: int = 12,
    gop: int = 12,
    stamps: Sequence[float] | None = None,
) -> None:
    """Write pictures (H, W, 3) uint8 RGB as an .mp4 whose k-th frame is shown at k / fps, or after `stamps`[k] seconds.

    At `crf` 12 H.264 loses little. Colour has half the resolution, as players expect, unless a side is odd. Stamps are
    rounded to `tick(fps)`.
    """
    import av

    options = {"crf": str(crf), "g": str(gop), "bf": "0", "threads": "1"}
    # By default the format counts in 1/10,000 s or less, and has 32 bits for the duration of a frame.
    clock = {"video_track_timescale": str(fps.numerator)} if fps < 1 else {}
    if stamps is not None:
        clock = {"video_track_timescale": str(tick(fps).denominator)}
    with av.open(str(path), "w", format="mp4", options=clock) as container:
        stream: Any = None
        for k, rgb in enumerate(pictures):
            if stream is None:
                stream = container.add_stream("libx264", rate=fps, options=options)
                stream.height, stream.width = rgb.shape[:2]
                stream.pix_fmt = "yuv444p" if rgb.shape[0] % 2 or rgb.shape[1] % 2 else "yuv420p"
                stream.codec_context.colorspace = BT601  # FFmpeg's matrix for RGB; without it, players guess
                if stamps is not None:
                    stream.codec_context.time_base = tick(fps)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")
            frame.pts, frame.time_base = (k, 1 / fps) if stamps is None else (round(stamps[k] / tick(fps)), tick(fps))
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())


def tick(fps: Fraction) -> Fraction:
    """Return the unit, in seconds, of the times of frames in a video with stamps: 1/90000 s, as broadcasts have it.

    Rates of less than a frame in hours have a longer one, since a container has 32 bits for the duration of a frame.
    """
    return Fraction(1, max(1, min(90_000, int(_MOST * fps))))


def frame_rate(fps: float) -> Fraction:
    """Return a rate as a ratio of numbers that a container can hold; rates are limited to 1e-7 to 1e6/s.

    Raises StoreError for a value that is not a rate.

    >>> frame_rate(30000 / 1001), frame_rate(1 / 3600)
    (Fraction(30000, 1001), Fraction(1, 3600))
    """
    if not (math.isfinite(fps) and fps > 0):
        raise StoreError(
            f"a video cannot have a rate of {fps} frames per second; `geoflow verify` says what is wrong with it"
        )
    fps = min(max(fps, _SLOWEST), _FASTEST)
    if fps >= 1:
        return Fraction(fps).limit_denominator(1001)
    seconds = 1 / fps
    return 1 / Fraction(seconds).limit_denominator(min(1001, int(_MOST / seconds)))  # both numbers have 32 bits
