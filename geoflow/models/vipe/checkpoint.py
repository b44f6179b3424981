"""The published weights, `droid.pth`, read without running what the file names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from geoflow.errors import ConfigError
from geoflow.models.checkpoint_weights import fill_network, unlike_keys
from geoflow.models.inert_pickle import load_inert
from geoflow.models.vipe.network import SlamNetwork
from geoflow.models.vipe.network_flow import NetworkFlow
from geoflow.models.vipe.slam import Slam

_PREFIX = "module."
_FETCH = "download droid.pth of DROID-SLAM again"
_CUT = tuple(f"update.{head}.2.{part}" for head in ("weight", "delta") for part in ("weight", "bias"))


def from_checkpoint(path: Path | str, device: str = "cpu", dtype: torch.dtype | None = None) -> Slam:
    """Return the tracker with the weights of a file: `droid.pth`, or what `to_safetensors` made of it.

    `dtype` is that of convolutions and correlation. Raises ConfigError that names the file if it cannot be read, or if
    its weights are not those of such a network.
    """
    return Slam(NetworkFlow(network_of(Path(path)).to(device), dtype))


def network_of(path: Path) -> SlamNetwork:
    """Return the network whose weights a file holds, on the CPU. Raises ConfigError that names the file."""
    held = _read(path)
    if not isinstance(held, Mapping):
        raise ConfigError(f"{path} is no checkpoint of DROID-SLAM: it should hold a dictionary of weights; {_FETCH}")
    weights = {str(key).removeprefix(_PREFIX): value for key, value in held.items()}
    for key in _CUT:  # the third of their channels is not used
        if isinstance(weights.get(key), torch.Tensor) and len(weights[key]) == 3:
            weights[key] = weights[key][:2]
    with torch.device("meta"):
        network = SlamNetwork()
    if differs := unlike_keys(network, weights):
        raise ConfigError(f"{path} holds another network's weights: {differs}; {_FETCH}")
    fill_network(network, weights, path, _FETCH)
    return network.requires_grad_(False)


def to_safetensors(source: Path | str, target: Path | str) -> None:
    """Write the weights of a checkpoint as safetensors, under this network's names."""
    from safetensors.torch import save_file

    save_file({key: value.contiguous() for key, value in network_of(Path(source)).state_dict().items()}, str(target))


def _read(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return load_inert(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path} cannot be read as safetensors ({error}); convert the weights again") from error
