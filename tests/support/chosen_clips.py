"""Sources with parts to choose from: files with several video streams, folders of different pictures."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import clips
import cv2
import numpy as np

DEFAULT, COVER = av.stream.Disposition.default, av.stream.Disposition.attached_pic


def several(path: Path, sizes: list[tuple[int, int]], flags: list[Any], counts: list[int] | None = None) -> Path:
    """A file with a video stream of each size; frame k of stream n has the number 10 n + k."""
    counts = counts or [6] * len(sizes)
    with av.open(str(path), "w") as file:
        streams: list[Any] = []
        for (width, height), flag in zip(sizes, flags):
            stream: Any = file.add_stream("mjpeg" if flag == COVER else "libx264", rate=10)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if flag == COVER else "yuv420p"
            stream.disposition = flag
            streams.append(stream)
        for n, stream in enumerate(streams):
            for k in range(counts[n]):
                frame = av.VideoFrame.from_ndarray(clips.picture(10 * n + k, stream.height, stream.width), "rgb24")
                frame.pts, frame.time_base = k, Fraction(1, 10)
                file.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
            file.mux(stream.encode())
    return path


def write_picture(path: Path, k: int, dtype: type = np.uint8, grey: bool = False) -> None:
    image = clips.picture(k)[..., ::-1]
    image = image[..., 0] if grey else image
    cv2.imwrite(str(path), image.astype(dtype) * (257 if dtype == np.uint16 else 1))
