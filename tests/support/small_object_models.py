"""InstantMesh and Zero123++ with the smallest networks there can be, weights from a seed, and files as published."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from geoflow.models.diffusion.clip import CLIPVision
from geoflow.models.diffusion.config import CLIPVisionConfig, ImageVAEConfig
from geoflow.models.diffusion.image_vae import ImageAutoencoder
from geoflow.models.instantmesh.cameras import view_cameras
from geoflow.models.instantmesh.config import EncoderConfig, ReconstructorConfig
from geoflow.models.instantmesh.field import Field
from geoflow.models.instantmesh.grid import Grid
from geoflow.models.instantmesh.network import MeshNetwork
from geoflow.models.zero123plus.config import SchedulerConfig, TextConfig, UNetConfig
from geoflow.models.zero123plus.text import CLIPText
from geoflow.models.zero123plus.unet import UNet

RECONSTRUCTOR = ReconstructorConfig(
    transformer_dim=32,
    transformer_layers=1,
    transformer_heads=2,
    triplane_low_res=4,
    triplane_high_res=8,
    triplane_dim=6,
    grid_res=12,
    encoder=EncoderConfig(32, 1, 2, 64, image_size=32, patch_size=16),
)
COMPONENTS: dict[str, tuple[Any, Any]] = {
    "unet": (
        UNet,
        UNetConfig(
            block_out_channels=(32, 64, 64, 64),
            attention_head_dim=(2, 4, 4, 4),
            layers_per_block=1,
            cross_attention_dim=24,
            norm_num_groups=16,
        ),
    ),
    "vae": (
        ImageAutoencoder,
        ImageVAEConfig(block_out_channels=(32, 32, 64, 64), layers_per_block=1, norm_num_groups=16),
    ),
    "vision_encoder": (
        CLIPVision,
        CLIPVisionConfig(32, 64, 1, 4, image_size=28, projection_dim=24),
    ),
    "text_encoder": (CLIPText, TextConfig(24, 48, 1, 4, vocab_size=6, max_position_embeddings=9)),
}
SIZE = (128, 64)  # of the picture of views, so small that the networks are quick
_PICKLED = "pytorch_model.bin"


def small_network(bias: float = 0.0) -> MeshNetwork:
    """A network whose field of `random_views` is inside at a fifth of the grid; with a large `bias`, at none or all."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = MeshNetwork(RECONSTRUCTOR)
        nn.init.normal_(network.transformer.pos_embed)
        for head in (network.heads.net_sdf, network.heads.net_weight, network.heads.net_deformation):
            for layer in head:
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=2 / layer.in_features**0.5)
                    nn.init.zeros_(layer.bias)
    last = network.heads.net_sdf[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        planes = network.eval()(random_views(), torch.from_numpy(view_cameras()))
        distances = Field(network.heads, planes).distances(Grid(RECONSTRUCTOR.grid_res, RECONSTRUCTOR.grid_scale))
        last.bias.fill_(bias - float(distances.quantile(0.2)))
    return network


def random_views(count: int = 6, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(5))


def save_lightning(network: MeshNetwork, path: Path, **more: Any) -> None:
    """A checkpoint as PyTorch Lightning writes it, with weights of another network beside."""
    state = {f"lrm_generator.{key}": value for key, value in network.state_dict().items()}
    state["lpips.net.weight"] = torch.zeros(3)
    torch.save({"epoch": 3, "global_step": 17, "state_dict": state, **more}, path)


def components() -> dict[str, Any]:
    """The networks of Zero123++ by the names of their folders."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return {name: network(config) for name, (network, config) in COMPONENTS.items()}


def publish(folder: Path, networks: dict[str, Any], *, pickled: tuple[str, ...] = ()) -> Path:
    """Save networks in the layout of the hub; those in `pickled` as files of torch.save."""
    for name, network in networks.items():
        home = folder / name
        home.mkdir(parents=True)
        config = dataclasses.asdict(COMPONENTS[name][1]) | {"_class_name": "X", "sample_size": 64}
        (home / "config.json").write_text(json.dumps(config))
        state = {key: value.contiguous() for key, value in network.state_dict().items()}
        if name == "vision_encoder":
            state["vision_model.embeddings.position_ids"] = torch.arange(5)
        if name in pickled:
            torch.save(state, home / _PICKLED)
        else:
            save_file(state, home / "diffusion_pytorch_model.safetensors")
    _write(folder / "scheduler/scheduler_config.json", dataclasses.asdict(SchedulerConfig()) | {"steps_offset": 1})
    square = {"height": 64, "width": 64}
    _write(
        folder / "feature_extractor_vae/preprocessor_config.json",
        {"size": {"shortest_edge": 64}, "crop_size": square, "image_mean": [0.5] * 3, "image_std": [0.8] * 3},
    )
    _write(
        folder / "feature_extractor_clip/preprocessor_config.json",
        {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}, "image_mean": [0.5] * 3},
    )
    _write(folder / "tokenizer/vocab.json", {"!": 0, "a": 1, "<|startoftext|>": 4, "<|endoftext|>": 5})
    _write(
        folder / "tokenizer/special_tokens_map.json", {"bos_token": {"content": "<|startoftext|>"}, "pad_token": "!"}
    )
    _write(folder / "model_index.json", {"ramping_coefficients": [k / 8 for k in range(9)]})
    return folder


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def round_picture(side: int = 96) -> np.ndarray:
    """A disc in two colours on a transparent ground, (side, side, 4) uint8."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    disc = np.hypot(x, y) < 0.4 * side
    picture = np.zeros((side, side, 4), np.uint8)
    picture[disc] = (200, 60, 20, 255)
    picture[disc & (x > 0)] = (20, 60, 200, 255)
    return picture
