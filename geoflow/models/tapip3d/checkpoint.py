"""The released checkpoint's form, read without running what it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from geoflow.errors import ConfigError
from geoflow.models.checkpoint_weights import fill_network, unlike_keys
from geoflow.models.inert_pickle import Inert, load_inert
from geoflow.models.tapip3d.config import TrackerConfig
from geoflow.models.tapip3d.network import TrackerNetwork
from geoflow.models.tapip3d.tracker import Tracker

BASE_SIZE = (384, 512)  # height and width in training, if the checkpoint does not say
_FETCH = "fetch tapip3d_final.pth again"


def from_checkpoint(path: Path | str, device: str = "cpu", dtype: torch.dtype | None = None) -> Tracker:
    """Return the tracker whose weights and sizes a checkpoint holds; `dtype` is that of convolutions and attention.

    Raises ConfigError that names the file if it cannot be read, or if its weights are not those of such a network.
    """
    path = Path(path)
    held = load_inert(path)
    weights = held.get("weight") if isinstance(held, dict) else None
    config = plain(held.get("cfg")) if isinstance(held, dict) else None
    if not isinstance(weights, Mapping) or not isinstance(config, dict) or "model" not in config:
        raise ConfigError(
            f"{path} is no checkpoint of TAPIP3D: it should hold `weight`, and `cfg` with a `model`; {_FETCH}"
        )
    try:
        sizes = TrackerConfig.from_dict(config["model"])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    training = config.get("train_dataset")
    size = training.get("resolution", BASE_SIZE) if isinstance(training, dict) else BASE_SIZE
    with torch.device("meta"):
        network = TrackerNetwork(sizes)
    if differs := unlike_keys(network, weights):
        raise ConfigError(f"{path} does not fit its own configuration: {differs}; {_FETCH}")
    fill_network(network, weights, path, _FETCH)
    return Tracker(network.to(device), (int(size[0]), int(size[1])), dtype)


def plain(value: Any) -> Any:
    """Return the dictionaries, lists and values that objects of OmegaConf hold."""
    if isinstance(value, Inert):
        state = value.state if isinstance(value.state, dict) else {}
        return plain(state.get("_content", state.get("_val")))
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
