"""GeometryCrafter with the smallest networks there can be, weights from a seed, and made-up videos with priors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from geoflow.bench.geometry.made_up import pictures
from geoflow.models.diffusion.config import CLIPVisionConfig, ImageVAEConfig
from geoflow.models.geometrycrafter import GeometryCrafter, ModelConfig, Networks, Options
from geoflow.models.geometrycrafter.config import PointMapVAEConfig, UNetConfig

Video = tuple[np.ndarray, np.ndarray, np.ndarray]  # frames, points, mask


def small_config(model_type: str) -> ModelConfig:
    return ModelConfig(
        UNetConfig(
            in_channels={"diff": 12, "determ": 8}[model_type],
            block_out_channels=(32, 32, 64, 64),  # 64: a norm of one value is refused, latents end up 1 x 1
            num_attention_heads=(2, 2, 2, 2),
            layers_per_block=1,
            cross_attention_dim=16,
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24,
        ),
        PointMapVAEConfig(
            enc_block_out_channels=(32, 32, 32, 32),
            enc_layers_per_block=1,
            dec_block_out_channels=(64, 32, 32, 32),
            dec_layers_per_block=1,
        ),
        ImageVAEConfig(block_out_channels=(32, 32, 32, 32), layers_per_block=1),
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            patch_size=56,
            projection_dim=16,
        ),
    )


def small_networks(model_type: str = "determ") -> Networks:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return Networks.build(small_config(model_type))


def trusting(networks: Networks) -> Networks:
    """The same, with a bias by which they take most pixels for valid."""
    networks.point_map_vae.decoder.time_conv_outs[2].bias.data.fill_(4.0)
    return networks


def small_crafter(model_type: str = "determ", dtype: torch.dtype | None = None, **options: object) -> GeometryCrafter:
    given = {"height": 64, "width": 64, "window_size": 4, "overlap": 2, "decode_chunk_size": 3} | options
    return GeometryCrafter(small_networks(model_type), Options(model_type=model_type, **given), dtype=dtype)  # type: ignore[arg-type]


def make_video(num_frames: int, height: int = 64, width: int = 64, seed: int = 0) -> Video:
    """The benchmark's, to be changed at will."""
    frames, points, mask = pictures(num_frames, height, width, seed)
    return frames.copy(), points.astype(np.float32), mask.copy()


def publish(networks: Networks, crafter: Path, base: Path) -> None:
    """Save networks in the hub's layout, with the entries that real files have besides."""
    variant = {12: "diff", 8: "determ"}[networks.config.unet.in_channels]
    folders = {
        "unet": crafter / f"unet_{variant}",
        "point_map_vae": crafter / "point_map_vae",
        "vae": base / "vae",
        "image_encoder": base / "image_encoder",
        "scheduler": base / "scheduler",
    }
    files = {
        "vae": "diffusion_pytorch_model.fp16.safetensors",
        "image_encoder": "model.fp16.safetensors",
    }
    more = {
        "vae": {"decoder.conv_in.weight": torch.zeros(2)},
        "image_encoder": {"vision_model.embeddings.position_ids": torch.arange(5)},
    }
    for name, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        config = dataclasses.asdict(getattr(networks.config, name)) | {"_diffusers_version": "0.24.0"}
        (folder / ("scheduler_config.json" if name == "scheduler" else "config.json")).write_text(json.dumps(config))
        if name != "scheduler":
            state = networks.modules()[name].state_dict() | more.get(name, {})
            save_file(state, folder / files.get(name, "diffusion_pytorch_model.safetensors"))
