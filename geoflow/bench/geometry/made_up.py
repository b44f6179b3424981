"""Made-up networks and videos: what is computed does not depend on what the weights or the pictures are."""

from __future__ import annotations

import numpy as np
import torch

from geoflow.models.geometrycrafter import ModelConfig, Networks
from geoflow.models.geometrycrafter.config import CLIPVisionConfig, ImageVAEConfig, PointMapVAEConfig, UNetConfig

_DIFFERENT_FRAMES = 16  # then they come again


class Repeated:
    """A few frames over and over, made when they are read, as frames of a file are: (T, …)."""

    def __init__(self, frames: np.ndarray, num_frames: int) -> None:
        self._frames = frames
        self.shape = (num_frames, *frames.shape[1:])

    def __getitem__(self, part: slice) -> np.ndarray:
        return self._frames[np.arange(self.shape[0])[part] % len(self._frames)]


def video(num_frames: int, height: int, width: int) -> tuple[Repeated, Repeated, Repeated]:
    """Frames u8, points float16 and mask bool of noise before a slanted plane with a hole."""
    rng = np.random.default_rng(0)
    shape = (_DIFFERENT_FRAMES, height, width)
    v, u = np.mgrid[:height, :width].astype(np.float32)
    z = 2 + v / height + rng.uniform(0, 0.1, shape).astype(np.float32)
    points = np.stack([(u - width / 2) / width * z, (v - height / 2) / width * z, z], axis=-1)
    mask = np.ones(shape, bool)
    mask[:, : height // 4, : width // 3] = False
    frames = rng.integers(0, 256, (*shape, 3), np.uint8)
    return Repeated(frames, num_frames), Repeated(points.astype(np.float16), num_frames), Repeated(mask, num_frames)


def middle_config(model_type: str) -> ModelConfig:
    """Networks for a CPU: all of the structure of the published ones, a quarter of the width or less."""
    return ModelConfig(
        UNetConfig(
            in_channels={"diff": 12, "determ": 8}[model_type],
            block_out_channels=(64, 128, 192, 192),
            num_attention_heads=(2, 4, 6, 6),
            cross_attention_dim=64,
            addition_time_embed_dim=32,
            projection_class_embeddings_input_dim=96,
        ),
        PointMapVAEConfig(
            enc_block_out_channels=(32, 32, 64, 64),
            enc_layers_per_block=1,
            dec_block_out_channels=(64, 64, 96, 96),
            dec_layers_per_block=1,
        ),
        ImageVAEConfig(block_out_channels=(32, 32, 64, 64), layers_per_block=1),
        CLIPVisionConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            patch_size=28,
            projection_dim=64,
        ),
    )


def networks(config: ModelConfig, device: str) -> Networks:
    """Weights of a seed, made on the device."""
    torch.manual_seed(0)
    with torch.device(device):
        return Networks.build(config)
