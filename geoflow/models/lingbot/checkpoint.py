"""The published checkpoint's form, read without running what it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from geoflow.errors import ConfigError
from geoflow.models.checkpoint_weights import fill_network, unlike_keys
from geoflow.models.inert_pickle import load_inert
from geoflow.models.lingbot.config import LingbotConfig
from geoflow.models.lingbot.network import LingbotNetwork
from geoflow.models.lingbot.streamer import Streamer

_FETCH = "fetch lingbot-map.pt or lingbot-map-long.pt again"


def from_checkpoint(path: Path | str, device: str = "cpu", dtype: torch.dtype | None = None) -> Streamer:
    """Return the network whose weights a checkpoint holds: names and tensors, or `model` with these in it.

    `dtype` is that of products in the encoder and the blocks, and of the cache; heads, norms and sums are float32. A
    file of other sizes than the published one states them in `config`. Raises ConfigError that names the file if it
    cannot be read, or if any weight is missing, unknown or of another shape.
    """
    path = Path(path)
    held = load_inert(path)
    weights = held.get("model", held) if isinstance(held, Mapping) else None
    if not isinstance(weights, Mapping) or not weights:
        raise ConfigError(
            f"{path} is no checkpoint of LingBot-Map: it should hold tensors by name, or them in `model`; {_FETCH}"
        )
    stated = held.get("config") if "model" in held else None
    try:
        config = LingbotConfig.from_dict(stated) if isinstance(stated, Mapping) else LingbotConfig()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    with torch.device("meta"):
        network = LingbotNetwork(config)
    if differs := unlike_keys(network, weights):
        raise ConfigError(f"{path} is not the LingBot-Map that is expected: {differs}; {_FETCH}")
    fill_network(network, weights, path, _FETCH)
    return Streamer(network.products_in(dtype or torch.float32).to(device))
