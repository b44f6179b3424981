"""Published weights from local folders in the hub's layout; nothing is downloaded here.

`crafter` is TencentARC/GeometryCrafter (unet_diff, unet_determ, point_map_vae), `diffusion` is
stabilityai/stable-video-diffusion-img2vid-xt (image_encoder, vae, scheduler). Only safetensors are read.
"""

from __future__ import annotations

from pathlib import Path

import torch

from geoflow.models.diffusion.published import load_weights
from geoflow.models.geometrycrafter.config import NEVER_USED, ModelConfig, published_folders
from geoflow.models.geometrycrafter.networks import Networks


def from_pretrained(crafter: Path | str, diffusion: Path | str, model_type: str = "diff") -> Networks:
    """Return the networks of `diff` or `determ` on the CPU, in the precision of their files.

    Raises ConfigError that names the file, if a file is missing, or if its keys and shapes do not match the networks.
    """
    folders = published_folders(crafter, diffusion, model_type)
    config = ModelConfig.read(folders)
    with torch.device("meta"):
        empty = Networks.build(config).modules()
    loaded = {name: load_weights(empty[name], folder, NEVER_USED.get(name, ())) for name, folder in folders.items()}
    return Networks(**loaded, config=config)  # type: ignore[arg-type]
