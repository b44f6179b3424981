"""Clips that are marked with what a scan should say of them, made from rendered films."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from geoflow.synth import render

RATE = 24


def film(seed: int, count: int = 72, motion: str = "handheld", size: tuple[int, int] = (320, 240)) -> np.ndarray:
    """Return a rendered film (T, H, W, 3) uint8; seeds show different scenes."""
    return render(num_frames=count, width=size[0], height=size[1], fps=RATE, seed=seed, motion=motion).frames


def save(
    path: Path, frames: np.ndarray, *, size: tuple[int, int] | None = None, crf: int = 20, rate: int = RATE
) -> Path:
    """Write frames (T, H, W, 3) uint8 as H.264, `size` (width, height), with a key frame where the encoder likes."""
    width, height = size or (frames.shape[2], frames.shape[1])
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=rate, options={"crf": str(crf), "g": "48"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for k, picture in enumerate(frames):
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def at_rest(frames: np.ndarray) -> np.ndarray:
    """Return a film of a camera on a tripod: one picture with a sensor's noise, and a ball that crosses it."""
    rng, picture, out = np.random.default_rng(1), frames[0], []
    for k in range(len(frames)):
        height, width = picture.shape[:2]
        ball = int(width * k / len(frames)), height // 2
        seen = cv2.circle(picture.copy(), ball, height // 8, (200, 40, 40), -1)
        out.append(np.clip(seen + rng.normal(0, 2, seen.shape), 0, 255))
    return np.stack(out).astype(np.uint8)


def blurred(frames: np.ndarray, sigma: float = 5.0) -> np.ndarray:
    """Return a film out of focus."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])


def dark(frames: np.ndarray) -> np.ndarray:
    """Return a film in the dark, with a sensor's noise."""
    noise = np.random.default_rng(2).normal(0, 2, frames.shape)
    return np.clip(0.08 * frames + noise, 0, 255).astype(np.uint8)


def blown(frames: np.ndarray) -> np.ndarray:
    """Return a film of which more than half is overexposed."""
    return np.clip(3.5 * frames.astype(np.float32) + 20, 0, 255).astype(np.uint8)


def wall(frames: np.ndarray) -> np.ndarray:
    """Return a film of a wall without texture, as long and as large."""
    ramp = np.linspace(110, 150, frames.shape[2])[None, None, :, None]
    noise = np.random.default_rng(3).normal(0, 1.5, frames.shape)
    return np.clip(ramp + noise, 0, 255).astype(np.uint8)
