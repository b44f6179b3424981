"""A small network of WiLoR with made-up weights, and files and images for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import made_up_mano
import numpy as np
import torch

from geoflow.models.wilor.config import HandConfig
from geoflow.models.wilor.hand_model import HandModel
from geoflow.models.wilor.network import HandNetwork

SMALL = HandConfig(width=32, depth=2, heads=2, hidden=64)
_SCALE = 4.0  # of the mean camera: the hand's 0.2 m are 0.4 of the crop's side


def network(seed: int = 0) -> HandNetwork:
    """Return a network whose hands are nearly flat, of usual shape, and in the crop; each image has another one."""
    torch.manual_seed(seed)
    made = HandNetwork(SMALL).eval()
    with torch.no_grad():
        made.backbone.pos_embed.normal_(0, 0.3)
        made.backbone.init_hand_pose.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(16)[None])
        made.backbone.init_cam.copy_(torch.tensor([[_SCALE, 0.02, -0.01]]))
        for part in (made.backbone.deccam, made.refine_net.dec_cam):
            part.weight.mul_(0.1)
            part.bias.mul_(0.1)
    return made


def model(seed: int = 0, **options: Any) -> HandModel:
    return HandModel(network(seed), made_up_mano.body(), **options)


def write_checkpoint(path: Path, seed: int = 0, **changes: Any) -> Path:
    """Write a file laid out like the released checkpoint, with entries that are not the network's."""
    state = dict(network(seed).state_dict())
    state |= {"mano.v_template": torch.zeros(778, 3), "discriminator.x": torch.ones(2), "initialized": torch.tensor(1)}
    torch.save({"epoch": 1, "state_dict": {**state, **changes}, "hyper_parameters": {}}, path)
    return path


def image(height: int = 240, width: int = 320, seed: int = 0) -> np.ndarray:
    """Return smooth noise (H, W, 3) uint8, RGB."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (height // 8 + 2, width // 8 + 2, 3))
    rows, columns = np.arange(height) / 8, np.arange(width) / 8
    y, x = rows.astype(int), columns.astype(int)
    fy, fx = (rows - y)[:, None, None], (columns - x)[None, :, None]
    upper = coarse[y][:, x] * (1 - fx) + coarse[y][:, x + 1] * fx
    lower = coarse[y + 1][:, x] * (1 - fx) + coarse[y + 1][:, x + 1] * fx
    return np.rint(upper * (1 - fy) + lower * fy).astype(np.uint8)
