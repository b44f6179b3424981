"""An H.264 video, written a frame at a time."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np


def write_mp4(path: Path, pictures: Iterable[np.ndarray], fps: Fraction, *, crf: int = 12, gop: int = 12) -> None:
    """Write pictures (H, W, 3) uint8 RGB as an .mp4 whose k-th frame is shown at k / fps.

    H.264 loses little at `crf` 12. Colour is at half the resolution, as players expect, unless a side is odd.
    """
    import av

    options = {"crf": str(crf), "g": str(gop), "bf": "0", "threads": "1"}
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = None
        for k, rgb in enumerate(pictures):
            if stream is None:
                stream = container.add_stream("libx264", rate=fps, options=options)
                stream.height, stream.width = rgb.shape[:2]
                stream.pix_fmt = "yuv444p" if rgb.shape[0] % 2 or rgb.shape[1] % 2 else "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")
            frame.pts, frame.time_base = k, 1 / fps
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())


def frame_rate(fps: float) -> Fraction:
    """A rate as a ratio of small numbers that a container can hold.

    >>> frame_rate(30000 / 1001)
    Fraction(30000, 1001)
    """
    return Fraction(fps).limit_denominator(1001)
