"""Weights of a checkpoint go into a network only if they are exactly the network's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geoflow.errors import ConfigError

_NAMED = 4  # keys, at most


def unlike_keys(network: nn.Module, weights: Mapping[str, Any]) -> str:
    """Return which weights are missing and which are unknown, in words; "" if the keys are the network's."""
    wanted = network.state_dict().keys()
    missing, unknown = sorted(wanted - weights.keys()), sorted(map(str, weights.keys() - wanted))
    if not missing and not unknown:
        return ""
    return f"{len(missing)} weights are missing {missing[:_NAMED]}, {len(unknown)} are unknown {unknown[:_NAMED]}"


def fill_network(network: nn.Module, weights: Mapping[str, Any], path: Path, remedy: str) -> None:
    """Give a network, made on the meta device, weights whose keys are its own; floats become float32.

    Raises ConfigError that names the file, the weight and the `remedy` if one has another shape, or is not of floats.
    """
    wanted = network.state_dict()
    for key, value in wanted.items():
        given = weights[key]
        if not isinstance(given, torch.Tensor) or given.shape != value.shape:
            raise ConfigError(f"{path}: {key} should be a tensor of the shape {tuple(value.shape)}; {remedy}")
        if value.is_floating_point() and not given.is_floating_point():
            raise ConfigError(f"{path}: {key} should hold floating-point numbers, found {given.dtype}; {remedy}")
    floats = {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
    network.load_state_dict(floats, assign=True)
