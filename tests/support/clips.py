"""Tiny video files for tests, written with PyAV; each frame can be recognised by its colours."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

HEIGHT, WIDTH = 48, 64


def picture(k: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Frame number k: (H, W, 3) uint8; the lower half's grey level is its number, the top-left corner is red."""
    image = np.full((height, width, 3), 60, np.uint8)
    image[height // 2 :] = 20 + 5 * k % 225  # numbers repeat after 45
    image[: height // 4, : width // 4] = (230, 20, 20)
    x = (3 * k) % width
    image[height // 4 : height // 2, x : x + 8] = (20, 200, 40)  # something that moves, so that B-frames are used
    return image


def number_of(image: np.ndarray) -> int:
    """Read a frame's number back from its lower half."""
    height = image.shape[0]
    return round((float(np.median(image[3 * height // 4 :])) - 20) / 5)


def write(
    path: Path,
    count: int = 20,
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    rate: int = 10,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    audio: bool = False,
    video: bool = True,
    aspect: Fraction | None = None,
) -> Path:
    """Write `count` frames of `picture`; `pts` are in units of `time_base` (default: frames at `rate`)."""
    with av.open(str(path), "w", options=container or {}) as file:
        sound = _add_sound(file, count / rate) if audio else []
        stream: Any = file.add_stream(codec, rate=rate, options=_defaults(codec) | (options or {})) if video else None
        if stream is not None:
            stream.width, stream.height, stream.pix_fmt = *size, pixels
            stream.codec_context.thread_count = 1
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            if time_base is not None:
                stream.codec_context.time_base = time_base
            for k in range(count):
                frame = _frame(picture(k, size[1], size[0]), pixels)
                frame.pts, frame.time_base = (pts[k] if pts else k), time_base or Fraction(1, rate)
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
        for packet in sound:
            file.mux(packet)
    return path


def _defaults(codec: str) -> dict[str, str]:
    if codec == "libx264":
        return {"g": "6", "bf": "2", "b_strategy": "0", "crf": "10", "sc_threshold": "0"}
    return {"x265-params": "log-level=none:keyint=6:pools=1"} if codec == "libx265" else {}


def _frame(image: np.ndarray, pixels: str) -> av.VideoFrame:
    if pixels == "pal8":  # 6 bits are enough to tell the test's colours apart
        index = (image[..., 0] >> 6 << 4) | (image[..., 1] >> 6 << 2) | (image[..., 2] >> 6)
        levels = np.arange(64)
        palette = np.full((256, 4), 255, np.uint8)
        palette[:64, 1:] = np.stack([levels >> 4, levels >> 2 & 3, levels & 3], axis=-1) * 64 + 32
        return av.VideoFrame.from_ndarray((index, palette), "pal8")  # type: ignore[arg-type]
    return av.VideoFrame.from_ndarray(image, "rgb24")


def _add_sound(file: Any, seconds: float) -> list[Any]:
    stream = file.add_stream("aac", rate=8000, layout="mono")
    packets = []
    for start in range(0, int(seconds * 8000), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, start
        packets += stream.encode(frame)
    return packets + stream.encode()


def cut(source: Path, target: Path, share: float) -> Path:
    """The first `share` of a file's bytes."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def with_matrix(source: Path, target: Path, a: int, b: int, c: int, d: int) -> Path:
    """An MP4 with another display matrix in its track header (ISO/IEC 14496-12, section 8.3.2)."""
    data = source.read_bytes()
    start = data.find(b"tkhd") + 4 + 4 + 5 * 4 + 2 * 4 + 4 * 2
    one = 1 << 16
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    target.write_bytes(data[:start] + matrix + data[start + 36 :])
    return target


def damaged(source: Path, target: Path, share: float) -> Path:
    """An MP4 with a stretch of its pixel data turned to noise; its index stays whole."""
    data = bytearray(source.read_bytes())
    start = data.find(b"mdat")
    middle = start + int((len(data) - start) * share)
    for k in range(middle, min(middle + 200, len(data))):
        data[k] ^= 0x5A
    target.write_bytes(data)
    return target


def frame_folder(folder: Path, count: int = 12, suffix: str = ".png", **size: int) -> Path:
    """A folder of frame1, frame2, … frame10: numbers without leading zeros."""
    folder.mkdir(parents=True)
    for k in range(count):
        cv2.imwrite(str(folder / f"frame{k + 1}{suffix}"), picture(k, **size)[..., ::-1])
    return folder
