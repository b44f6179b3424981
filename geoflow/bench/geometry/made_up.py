"""Made-up networks and videos: time and memory do not depend on the content of weights and pictures."""

from __future__ import annotations

import functools

import numpy as np
import torch

from geoflow.geometry.cameras import pinhole, unproject
from geoflow.models.diffusion.config import CLIPVisionConfig, ImageVAEConfig
from geoflow.models.geometrycrafter import ModelConfig, Networks
from geoflow.models.geometrycrafter.config import PointMapVAEConfig, UNetConfig

_DIFFERENT_FRAMES = 16  # then they are repeated


class Repeated:
    """A few frames, repeated; made when they are read, like frames of a file: (T, …)."""

    def __init__(self, frames: np.ndarray, num_frames: int) -> None:
        self._frames = frames
        self.shape = (num_frames, *frames.shape[1:])

    def __getitem__(self, part: slice | int) -> np.ndarray:
        found: np.ndarray = self._frames[np.arange(self.shape[0])[part] % len(self._frames)]
        return found


def video(num_frames: int, height: int, width: int) -> tuple[Repeated, Repeated, Repeated]:
    """Return frames u8, points float16 and mask bool; a few pictures are repeated."""
    frames, points, mask = pictures(_DIFFERENT_FRAMES, height, width)
    return Repeated(frames, num_frames), Repeated(points, num_frames), Repeated(mask, num_frames)


@functools.cache
def pictures(num_frames: int, height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return noise (T, H, W, 3) uint8 and a slanted plane (T, H, W, 3) float16 and its mask (T, H, W) bool."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (num_frames, height, width, 3), np.uint8)
    depth = 2 + np.linspace(0, 1, height)[:, None] + rng.uniform(0, 0.1, (num_frames, height, width))
    points = unproject(depth, pinhole(0.9 * width, height, width)).astype(np.float16)
    mask = np.ones(depth.shape, bool)
    mask[:, : height // 4, : width // 3] = False
    return frames, points, mask


def middle_config(model_type: str) -> ModelConfig:
    """Return networks for a CPU: the full structure of the published ones, at most a quarter of their width."""
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
    """Return weights from a seed, made on the device."""
    torch.manual_seed(0)
    with torch.device(device):
        return Networks.build(config)
