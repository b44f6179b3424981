"""Made-up weights of ViPE's tracker, laid out like the released checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch

from geoflow.models.vipe.network import SlamNetwork


def publish_slam(folder: Path, motion: float = 3.0) -> Path:
    """Save a network that sees so much motion (px at 1/8) in every frame that each becomes a keyframe; return the
    folder."""
    torch.manual_seed(0)
    state = SlamNetwork().state_dict()
    state["update.delta.2.bias"] += motion
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({f"module.{key}": value for key, value in state.items()}, folder / "droid.pth")
    return folder
