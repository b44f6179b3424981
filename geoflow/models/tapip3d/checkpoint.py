"""The released checkpoint's form, read without running what it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from geoflow.errors import ConfigError
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
    _fill(network, dict(weights), path)
    return Tracker(network.to(device), (int(size[0]), int(size[1])), dtype)


def plain(value: Any) -> Any:
    """Return the dictionaries, lists and values that objects of OmegaConf hold."""
    if isinstance(value, Inert):
        state = value.state if isinstance(value.state, dict) else {}
        return plain(state.get("_content", state.get("_val")))
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _fill(network: TrackerNetwork, weights: dict[str, Any], path: Path) -> None:
    wanted = network.state_dict()
    missing, unknown = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or unknown:
        raise ConfigError(
            f"{path} does not fit its own configuration: missing {missing[:4]}, unknown {unknown[:4]}; {_FETCH}"
        )
    for key, value in wanted.items():
        if not isinstance(weights[key], torch.Tensor) or weights[key].shape != value.shape:
            raise ConfigError(f"{path}: {key} should be a tensor of the shape {tuple(value.shape)}; {_FETCH}")
    network.load_state_dict({key: value.float() for key, value in weights.items()}, assign=True)
