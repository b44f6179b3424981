"""TAPIP3D with the smallest network that tracks, weights from a seed, and a made-up clip."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from geoflow.models.tapip3d.config import CorrelationConfig, TrackerConfig, UpdaterConfig
from geoflow.models.tapip3d.network import TrackerNetwork

SMALL = TrackerConfig(
    seq_len=8,
    feature_dim=8,
    corr_feature=CorrelationConfig(4, 2, 8, 12, 2, 6),
    point_updater=UpdaterConfig(1, 2, 16, 1, 1.0, 4),
)


def small_network(seed: int = 0) -> TrackerNetwork:
    torch.manual_seed(seed)
    made = TrackerNetwork(SMALL).eval()
    with torch.no_grad():
        made.point_updater.flow_head.weight *= 0.01
    return made


def wall_clip(frames: int, height: int = 64, width: int = 80, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise on a slanted wall, and a camera that moves sideways."""
    rng = np.random.default_rng(seed)
    depth = 2 + np.linspace(0, 1, width)[None, None] + np.zeros((frames, height, width))
    depth[:, :8, :8] = 0
    poses = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    poses[:, 0, 3] = np.linspace(0, -0.3, frames)
    focal = np.array([[70, 0, width / 2], [0, 70, height / 2], [0, 0, 1]], np.float32)
    return {
        "rgb": rng.integers(0, 256, (frames, height, width, 3), np.uint8),
        "depth": depth.astype(np.float32),
        "intrinsics": np.tile(focal, (frames, 1, 1)),
        "cam_from_world": poses,
    }


def standing_network() -> TrackerNetwork:
    """One that leaves points where they are, and believes that they are seen: right in a scene at rest."""
    made = small_network()
    with torch.no_grad():
        for head in (made.point_updater.flow_head, made.point_updater.vis_conf_head):
            head.weight.zero_()
            head.bias.zero_()
        made.point_updater.vis_conf_head.bias[0] = 1.0
    return made


def publish_tracker(network: TrackerNetwork, folder: Path) -> Path:
    """Save a network in the form of the released checkpoint; return the folder."""
    sizes = dataclasses.asdict(network.config)
    encoder = {"name": "cotracker_cnn", "output_dim": sizes.pop("feature_dim"), "stride": 4}
    folder.mkdir(parents=True, exist_ok=True)
    cfg = {"model": {**sizes, "encoder": encoder}, "train_dataset": {"resolution": [64, 80]}}
    torch.save({"weight": network.state_dict(), "cfg": cfg}, folder / "tapip3d_final.pth")
    return folder
