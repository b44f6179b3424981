"""Published weights from local folders in the hub's layout; nothing is downloaded here.

`crafter` is TencentARC/GeometryCrafter (unet_diff, unet_determ, point_map_vae), `diffusion` is
stabilityai/stable-video-diffusion-img2vid-xt (image_encoder, vae, scheduler). Only safetensors are read.
"""

from __future__ import annotations

from pathlib import Path

import torch

from geoflow.models.diffusion.config import CLIPVisionConfig, ImageVAEConfig
from geoflow.models.diffusion.published import load_weights, read_config
from geoflow.models.geometrycrafter.config import ModelConfig, PointMapVAEConfig, SchedulerConfig, UNetConfig
from geoflow.models.geometrycrafter.networks import Networks


def from_pretrained(crafter: Path | str, diffusion: Path | str, model_type: str = "diff") -> Networks:
    """Return the networks of `diff` or `determ` on the CPU, in the precision of their files.

    Raises ConfigError that names the file, if a file is missing, or if its keys and shapes do not match the networks.
    """
    crafter, diffusion = Path(crafter), Path(diffusion)
    unet_folder = crafter / f"unet_{model_type}"
    config = ModelConfig(
        read_config(unet_folder, UNetConfig),
        read_config(crafter / "point_map_vae", PointMapVAEConfig),
        read_config(diffusion / "vae", ImageVAEConfig),
        read_config(diffusion / "image_encoder", CLIPVisionConfig),
        read_config(diffusion / "scheduler", SchedulerConfig, "scheduler_config.json"),
    )
    with torch.device("meta"):
        empty = Networks.build(config)
    return Networks(
        load_weights(empty.unet, unet_folder),
        load_weights(empty.point_map_vae, crafter / "point_map_vae"),
        load_weights(empty.vae, diffusion / "vae", unused=("decoder.",)),
        load_weights(
            empty.image_encoder, diffusion / "image_encoder", unused=("vision_model.embeddings.position_ids",)
        ),
        config,
    )
