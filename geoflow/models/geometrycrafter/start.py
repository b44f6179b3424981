"""What sampling starts with, whichever framework computes: noise, and the numbers that the UNet gets besides."""

from __future__ import annotations

import numpy as np

from geoflow.models.diffusion.config import LATENT_STRIDE
from geoflow.models.geometrycrafter.options import Options

NOISE_STRENGTH = 0.02
DETERM_TIMESTEP = 1.6378  # about that of the highest noise level
_FRAME_RATE, _MOTION_BUCKET = 7.0, 127.0


def added_ids(noise_strength: float, count: int) -> list[list[float]]:
    """Return frame rate, motion bucket and noise strength, which the networks were trained with, for `count` videos."""
    return [[_FRAME_RATE, _MOTION_BUCKET, noise_strength]] * count


def start_noise(options: Options, num_frames: int) -> np.ndarray:
    """Return unit noise (N, 4, h, w) float32 for one window.

    Only the seed decides it: it is numpy's for every framework and device. A shorter video has the same noise.
    """
    count = min(options.window_size, num_frames)
    shape = (count, 4, options.height // LATENT_STRIDE, options.width // LATENT_STRIDE)
    return np.random.default_rng(options.seed).standard_normal(shape, dtype=np.float32)
