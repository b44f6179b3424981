"""LingBot-Map with the smallest networks there can be, weights from a seed, and its checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoflow.models.lingbot.config import LingbotConfig
from geoflow.models.lingbot.network import LingbotNetwork

SMALL = LingbotConfig(
    embed_dim=64,
    heads=1,
    depth=4,
    selected=(0, 1, 2, 3),
    vit_depth=1,
    vit_heads=1,
    img_size=28,
    trunk_depth=1,
    camera_heads=2,
    iterations=2,
    dpt_features=8,
    dpt_channels=(4, 4, 8, 8),
    window=3,
    scale_frames=2,
    max_frames=64,
)
SIDE = 56  # px at which it works in tests
_FOV = 1.0  # radians, about what it answers


def small_network(seed: int = 0, **sizes: Any) -> LingbotNetwork:
    """Return a network that answers with small motions, a usual lens and depths around 2."""
    config = dataclasses.replace(SMALL, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = LingbotNetwork(config).eval()
        with torch.no_grad():
            for name, value in made.named_parameters():
                if name.endswith(("_token", "_tokens", "pos_embed")):
                    value.normal_()
            last = made.camera_head.pose_branch.fc2
            last.weight *= 0.3
            last.bias.copy_(torch.tensor([0, 0, 0, 0, 0, 0, 1, _FOV, _FOV]) / config.iterations)
            made.depth_head.scratch.output_conv2[2].bias.copy_(torch.tensor([0.7, 1.0]))
    return made


def small_streamer(seed: int = 0, **sizes: Any) -> Any:
    from geoflow.models.lingbot.streamer import Streamer  # which needs OpenCV

    return Streamer(small_network(seed, **sizes))


def publish(path: Path, network: LingbotNetwork | None = None) -> Path:
    """Save a network as the published file is saved, with its sizes beside it."""
    made = network or small_network()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": made.state_dict(), "config": dataclasses.asdict(made.config)}, path)
    return path


def moving_frames(count: int, height: int = 42, width: int = 56, seed: int = 0) -> np.ndarray:
    """Return frames (T, H, W, 3) uint8: a cloth of soft noise that is pulled sideways."""
    rng = np.random.default_rng(seed)
    cloth = rng.uniform(0, 255, (height // 7 + 2, (width + 3 * count) // 7 + 2, 3))
    fine = np.repeat(np.repeat(cloth, 7, axis=0), 7, axis=1).astype(np.uint8)
    return np.stack([fine[:height, 3 * k : 3 * k + width] for k in range(count)])
