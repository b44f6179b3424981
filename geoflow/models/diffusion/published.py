"""Components of a model as they are published: a folder each with `config.json` and weights, in the hub's layout.

Nothing is downloaded here, and nothing that a file names is run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from geoflow.errors import ConfigError
from geoflow.models.diffusion.config import ComponentConfig
from geoflow.models.inert_pickle import load_inert

if TYPE_CHECKING:
    from torch import nn

Config = TypeVar("Config", bound=ComponentConfig)
Network = TypeVar("Network", bound="nn.Module")

_SAFETENSORS = ("diffusion_pytorch_model", "model")  # of diffusers and of transformers
_PICKLES = ("diffusion_pytorch_model", "pytorch_model")
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


def load_weights(
    network: Network,
    place: Path,
    unused: Iterable[str] = (),
    renamed: Callable[[str], str] = str,
    sizes: str = "",
) -> Network:
    """Give a network, made on the meta device, the weights of a component's folder, or of a file.

    Keys that begin with one of `unused` are ignored, and the others go by the name that `renamed` gives them; they must
    be exactly the network's keys. `sizes` says where the network's sizes are from, if not from beside the weights.
    """
    path = find_weights(place) if place.is_dir() or not place.suffix else place
    state = {renamed(key): value for key, value in read_weights(path, tuple(unused)).items()}
    fill(network, state, path, sizes or str(path.parent / "config.json"))
    return network


def fill(network: nn.Module, state: Mapping[str, Any], path: Path, sizes: str) -> None:
    """Give a network the weights of a file. Raises ConfigError unless keys and shapes are exactly the network's.

    `sizes` says in the message where the network's sizes are from.
    """
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    check_keys(type(network).__name__, wanted, state, path, sizes)
    network.load_state_dict(dict(state), assign=True)


def check_keys(
    network: str, wanted: Mapping[str, tuple[int, ...]], state: Mapping[str, Any], path: Path, sizes: str
) -> None:
    """Raise ConfigError unless the weights of a file have exactly the keys and shapes that a network wants."""
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or unexpected:
        raise ConfigError(
            f"{path} is not of a {network}: missing {_some(missing)}, unexpected {_some(unexpected)}, "
            f"by the sizes in {sizes}"
        )
    shapes = {key: (tuple(getattr(state[key], "shape", ())), value) for key, value in wanted.items()}
    wrong = [f"{key} {found}, expected {right}" for key, (found, right) in sorted(shapes.items()) if found != right]
    if wrong:
        raise ConfigError(f"{path} does not fit the sizes in {sizes}: {_some(wrong)}")


def find_weights(folder: Path) -> Path:
    """Return the weights file in a component's folder: safetensors before others, then half precision before full."""
    names = [
        f"{name}{variant}.{kind}"
        for kind, stems in (("safetensors", _SAFETENSORS), ("bin", _PICKLES))
        for variant in (".fp16", "")
        for name in stems
    ]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"{folder} holds no weights; there should be one of {', '.join(names)}")


def read_weights(path: Path, unused: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the tensors in a file by their keys, except those that begin with one of `unused`."""
    if path.suffix != ".safetensors":
        import torch

        held = load_inert(path)
        if not isinstance(held, Mapping) or not all(isinstance(value, torch.Tensor) for value in held.values()):
            raise ConfigError(f"{path} should hold the weights of one network by their names, and nothing else")
        return {str(key): value for key, value in held.items() if not str(key).startswith(unused)}
    return read_safetensors(path, "pt", unused)


def read_safetensors(path: Path, framework: str, unused: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what a file of safetensors holds: tensors of torch (`pt`), or arrays (`np`)."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework=framework) as file:
            keys: list[Any] = [key for key in file.keys() if not key.startswith(unused)]  # noqa: SIM118 - no mapping
            return {key: file.get_tensor(key) for key in keys}
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path} cannot be read as safetensors: {error}; fetch it again") from error


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
