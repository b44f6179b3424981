"""Components of a model as they are published: a folder each with `config.json` and weights, in the hub's layout.

Nothing is downloaded here, and nothing that a file names is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from geoflow.errors import ConfigError
from geoflow.models.diffusion.config import ComponentConfig

Config = TypeVar("Config", bound=ComponentConfig)
Network = TypeVar("Network", bound=nn.Module)

_WEIGHTS = ("diffusion_pytorch_model", "model")  # of diffusers and of transformers
_NAMED = 4  # keys named in a message


def read_config(folder: Path, config_class: type[Config], name: str = "config.json") -> Config:
    """Return the sizes in a component's folder."""
    path = folder / name
    try:
        values = json.loads(path.read_text())
        return config_class.from_dict(values)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); {folder} should hold the component") from error
    except (ValueError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error


def load_weights(network: Network, folder: Path, unused: Iterable[str] = ()) -> Network:
    """Give a network, made on the meta device, the weights of a folder.

    Keys that begin with one of `unused` are ignored; all others must be exactly the network's keys.
    """
    path = find_weights(folder)
    state = _read(path, tuple(unused))
    wanted = network.state_dict()
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or unexpected:
        raise ConfigError(
            f"{path} is not of a {type(network).__name__}: missing {_some(missing)}, unexpected {_some(unexpected)}"
        )
    shapes = [f"{key} {tuple(state[key].shape)}, expected {tuple(wanted[key].shape)}" for key in sorted(wanted)]
    wrong = [text for key, text in zip(sorted(wanted), shapes) if state[key].shape != wanted[key].shape]
    if wrong:
        raise ConfigError(f"{path} does not fit the sizes in {folder / 'config.json'}: {_some(wrong)}")
    network.load_state_dict(state, assign=True)
    return network


def find_weights(folder: Path) -> Path:
    """Return the weights file in a component's folder: the one in half precision if there are both."""
    names = [f"{name}{variant}.safetensors" for variant in (".fp16", "") for name in _WEIGHTS]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"{folder} holds no weights; there should be one of {', '.join(names)}")


def _read(path: Path, unused: tuple[str, ...]) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            keys: list[Any] = [key for key in file.keys() if not key.startswith(unused)]  # noqa: SIM118 - no mapping
            return {key: file.get_tensor(key) for key in keys}
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path} cannot be read as safetensors: {error}; fetch it again") from error


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
