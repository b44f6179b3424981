"""The four networks in Jittor, called with arrays and giving arrays, and their weights from the published files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.errors import ConfigError
from geoflow.models.diffusion.published import check_keys, find_weights, read_safetensors
from geoflow.models.geometrycrafter.config import NEVER_USED, ModelConfig, published_folders
from geoflow.models.geometrycrafter_jittor.autoencoders import ImageVAE, PointMapVAE
from geoflow.models.geometrycrafter_jittor.framework import jt, nn
from geoflow.models.geometrycrafter_jittor.image_tower import CLIPVision
from geoflow.models.geometrycrafter_jittor.unet import UNet


@dataclass(frozen=True)
class Networks:
    """The networks of one variant of GeometryCrafter, in float32."""

    unet: UNet
    point_map_vae: PointMapVAE
    vae: ImageVAE
    image_encoder: CLIPVision
    config: ModelConfig


def run(network: Any, *arguments: Any) -> Any:
    """Call a network, or a method of one, with arrays as Jittor's; return what it gives as an array, or a tuple."""
    with jt.no_grad():
        given = [jt.array(np.ascontiguousarray(row)) if isinstance(row, np.ndarray) else row for row in arguments]
        found = network(*given)
        return tuple(part.numpy() for part in found) if isinstance(found, tuple) else found.numpy()


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a network's parameters by their published keys."""
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def fill(network: nn.Module, state: Mapping[str, np.ndarray]) -> None:
    """Give a network these weights as float32. Keys and shapes have been checked: Jittor passes over wrong ones."""
    for key, value in network.state_dict().items():
        value.assign(jt.array(np.ascontiguousarray(state[key], np.float32)))


def from_pretrained(crafter: Path | str, diffusion: Path | str, model_type: str = "diff") -> Networks:
    """Return the networks of `diff` or `determ` from folders in the hub's layout; nothing is downloaded here.

    Raises ConfigError that names the file, if a file is missing, or if its keys and shapes do not match the networks.
    """
    folders = published_folders(crafter, diffusion, model_type)
    config = ModelConfig.read(folders)
    empty = {
        "unet": UNet(config.unet),
        "point_map_vae": PointMapVAE(config.point_map_vae),
        "vae": ImageVAE(config.vae),
        "image_encoder": CLIPVision(config.image_encoder),
    }
    loaded = {name: _loaded(empty[name], folder, NEVER_USED.get(name, ())) for name, folder in folders.items()}
    return Networks(**loaded, config=config)


def _loaded(network: Any, folder: Path, unused: tuple[str, ...] = ()) -> Any:
    path = find_weights(folder)
    if path.suffix != ".safetensors":
        raise ConfigError(f"{path}: Jittor's networks read safetensors only; convert it where there is torch")
    state = read_safetensors(path, "np", unused)
    check_keys(type(network).__name__, shapes(network), state, path, str(folder / "config.json"))
    fill(network, state)
    return network
