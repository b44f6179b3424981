"""The published checkpoints: files of PyTorch Lightning, read without running what they name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from geoflow.errors import ConfigError
from geoflow.models.diffusion.published import fill
from geoflow.models.inert_pickle import load_inert
from geoflow.models.instantmesh.config import PUBLISHED, ReconstructorConfig, published
from geoflow.models.instantmesh.network import MeshNetwork
from geoflow.models.instantmesh.reconstructor import Reconstructor

_PREFIX = "lrm_generator."


def from_checkpoint(
    path: Path | str,
    config: str | ReconstructorConfig = "large",
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    grid_res: int | None = None,
) -> Reconstructor:
    """Return the reconstructor whose weights a checkpoint holds; `config` is "large", "base", or sizes.

    Whatever else the file holds (a loss network, states of the training) is ignored. The image encoder's weights are in
    it, so nothing else is needed. Raises ConfigError that names the file if it cannot be read, or is of another size.
    """
    path = Path(path)
    sizes = published(config) if isinstance(config, str) else config
    held = load_inert(path)
    state = held.get("state_dict") if isinstance(held, Mapping) else None
    weights = {}
    if isinstance(state, Mapping):
        weights = {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}
    if not weights:
        raise ConfigError(f"{path} is no checkpoint of InstantMesh: it should hold `state_dict` with keys {_PREFIX}…")
    with torch.device("meta"):
        network = MeshNetwork(sizes)
    fill(network, weights, path, _source(weights, sizes))
    return Reconstructor(network.float(), device, dtype, grid_res)


def _source(weights: Mapping[str, object], sizes: ReconstructorConfig) -> str:
    """Return what the sizes are called, and which published model the file is of if it is another one."""
    called = next((name for name, other in PUBLISHED.items() if other == sizes), "")
    source = f"the model {called!r}" if called else "the given configuration"
    count = sum(key.startswith("transformer.layers.") and key.endswith(".norm1.weight") for key in weights)
    for name, other in PUBLISHED.items():
        if count == other.transformer_layers != sizes.transformer_layers:
            return f"{source} (it has as many layers as {name!r}: give config={name!r})"
    return source
