"""The released checkpoint's form, read without running what it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from geoflow.errors import ConfigError
from geoflow.models.checkpoint_weights import fill_network, unlike_keys
from geoflow.models.inert_pickle import Inert, load_inert
from geoflow.models.mano.body import HandBody
from geoflow.models.mano.mano_file import load_body
from geoflow.models.wilor.config import HandConfig, check_stated
from geoflow.models.wilor.hand_model import HandModel
from geoflow.models.wilor.network import HandNetwork

# Entries that are not the network's: the body model, which the user's own file gives, and what training needs.
_IGNORED = ("mano.", "discriminator.", "initialized")
_FETCH = "fetch wilor_final.ckpt again"


def from_checkpoint(
    path: Path | str,
    mano: HandBody | Mapping[str, Any] | Path | str,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    heads: int | None = None,
) -> HandModel:
    """Return the model whose weights a checkpoint holds.

    `mano` is the user's MANO_RIGHT.pkl, or what was read from one; `dtype` that of the backbone; `heads` its number of
    attention heads, which a checkpoint does not say (see `HandConfig.from_shapes`).

    Raises ConfigError that names the file if it cannot be read, or if its weights are not those of such a network.
    """
    body = body_of(mano)
    return HandModel(read_network(Path(path), heads), body, device, dtype)


def body_of(mano: HandBody | Mapping[str, Any] | Path | str) -> HandBody:
    """Return the hand model of a file, of a file's arrays, or as it is."""
    if isinstance(mano, HandBody):
        return mano
    return HandBody.from_arrays(mano) if isinstance(mano, Mapping) else load_body(mano)


def read_network(path: Path, heads: int | None = None) -> HandNetwork:
    """Return the network of a checkpoint, on the CPU."""
    held = load_inert(path)
    weights = held.get("state_dict") if isinstance(held, Mapping) else None
    if not isinstance(weights, Mapping):
        raise ConfigError(f"{path} is no checkpoint of WiLoR: it should hold `state_dict`; {_FETCH}")
    own = {str(key): value for key, value in weights.items() if not str(key).startswith(_IGNORED)}
    try:
        stated = plain(held.get("hyper_parameters"))
        check_stated(stated.get("cfg") if isinstance(stated, Mapping) else None)
        shapes = {key: tuple(value.shape) for key, value in own.items() if isinstance(value, torch.Tensor)}
        config = HandConfig.from_shapes(shapes, heads)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    with torch.device("meta"):
        network = HandNetwork(config)
    if differs := unlike_keys(network, own):
        raise ConfigError(f"{path} is not whole, or of another network: {differs}; {_FETCH}")
    fill_network(network, own, path, _FETCH)
    return network


def plain(value: Any) -> Any:
    """Return the dictionaries, lists and values that objects of yacs hold."""
    if isinstance(value, Inert):
        return {key: plain(item) for key, item in getattr(value, "items", [])}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
