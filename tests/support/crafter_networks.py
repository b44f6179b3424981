"""GeometryCrafter's networks with the reference data's weights, each made from a side-car's component."""

from __future__ import annotations

from typing import Any

import torch
from golden import Fill
from torch import nn

from geoflow.models.diffusion.clip import CLIPVision
from geoflow.models.diffusion.config import CLIPVisionConfig, ImageVAEConfig
from geoflow.models.diffusion.image_vae import ImageVAE
from geoflow.models.geometrycrafter.config import ModelConfig, PointMapVAEConfig, SchedulerConfig, UNetConfig
from geoflow.models.geometrycrafter.networks import Networks
from geoflow.models.geometrycrafter.point_map_vae import PointMapVAE
from geoflow.models.geometrycrafter.unet import UNet

NETWORKS: dict[str, tuple[Any, Any]] = {
    "unet": (UNet, UNetConfig),
    "point_map_vae": (PointMapVAE, PointMapVAEConfig),
    "vae": (ImageVAE, ImageVAEConfig),
    "image_encoder": (CLIPVision, CLIPVisionConfig),
}


def make(name: str, component: dict[str, Any], fill: Fill) -> Any:
    """A network with the weights that its side-car describes."""
    network_class, config_class = NETWORKS[name]
    with torch.device("meta"):
        network = network_class(config_class.from_dict(component["config"]))
    fill_weights(network, fill, component["weight_prefix"], component.get("weight_gain", 1.0))
    return network.eval()


def fill_weights(network: nn.Module, fill: Fill, prefix: str, gain: float = 1.0) -> None:
    state = {}
    for key, parameter in network.state_dict().items():
        value = torch.from_numpy(fill(prefix + key, tuple(parameter.shape)))
        state[key] = value * gain if value.ndim >= 2 or key.endswith("bias") else value
    network.load_state_dict(state, assign=True)


def make_networks(components: dict[str, Any], fill: Fill) -> Networks:
    """All four, as a pipeline's side-car describes them."""
    parts = {name: make(name, components[name], fill) for name in NETWORKS}
    configs = {name: NETWORKS[name][1].from_dict(components[name]["config"]) for name in NETWORKS}
    scheduler = SchedulerConfig.from_dict(components["scheduler"]["config"])
    return Networks(**parts, config=ModelConfig(**configs, scheduler=scheduler))
