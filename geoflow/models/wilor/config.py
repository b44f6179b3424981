"""Sizes of a WiLoR network, read from the shapes of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geoflow.errors import ConfigError

CROP = 256  # px, both sides of the square that is cut out
COLUMNS = slice(32, 224)  # of the square, those that the network sees
ROWS_AND_COLUMNS = (256, 192)
PADDING = 2  # px, so that the patches start outside
TRAINING_FOCAL = 5000.0  # px of the crop
MEAN = (0.485, 0.456, 0.406)  # RGB in 0..1
DEVIATION = (0.229, 0.224, 0.225)
JOINTS, SHAPES, CAMERA = 16, 10, 3  # pose, shape and camera of a hand: 16 x 6, 10 and 3 numbers

# What the published network's configuration says. A checkpoint that says otherwise is of another network.
_FIXED = {
    ("MODEL", "IMAGE_SIZE"): CROP,
    ("MODEL", "IMAGE_MEAN"): list(MEAN),
    ("MODEL", "IMAGE_STD"): list(DEVIATION),
    ("MODEL", "BBOX_SHAPE"): [192, 256],
    ("MANO", "NUM_HAND_JOINTS"): JOINTS - 1,
    ("EXTRA", "FOCAL_LENGTH"): TRAINING_FOCAL,
}
_PUBLISHED_WIDTH, _PUBLISHED_HEADS = 1280, 16
_SMALL_HEAD = 16  # width of a head in made-up networks, whose files do not say it either


@dataclass(frozen=True)
class HandConfig:
    """Sizes of the network; the defaults are those of the published one."""

    width: int = _PUBLISHED_WIDTH
    depth: int = 32
    heads: int = _PUBLISHED_HEADS
    hidden: int = 4 * _PUBLISHED_WIDTH  # of the blocks' MLPs
    patch: int = 16
    qkv_bias: bool = True

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads or self.width % 8:
            raise ConfigError(f"a width of {self.width} cannot be shared among {self.heads} heads and 8 refined maps")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        rows, columns = ((side + 2 * PADDING - self.patch) // self.patch + 1 for side in ROWS_AND_COLUMNS)
        return rows, columns

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> HandConfig:
        """Return the sizes that a description by the original's names states: embed_dim, depth, num_heads, …"""
        if tuple(given.get("img_size", ROWS_AND_COLUMNS)) != ROWS_AND_COLUMNS:
            raise ConfigError(f"img_size is {given['img_size']}; only networks for {ROWS_AND_COLUMNS} are known")
        width = int(given["embed_dim"])
        return cls(
            width=width,
            depth=int(given["depth"]),
            heads=int(given["num_heads"]),
            hidden=int(width * given.get("mlp_ratio", 4)),
            patch=int(given.get("patch", 16)),
            qkv_bias=bool(given.get("qkv_bias", True)),
        )

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, tuple[int, ...]], heads: int | None = None) -> HandConfig:
        """Return the sizes that parameters of these names and shapes have.

        The number of heads shows in no shape: it is the published network's for its width, and for others such that
        a head is 16 wide, unless `heads` says otherwise. Raises ConfigError if the names are not of such a network.
        """
        try:
            width, _, patch, _ = shapes["backbone.patch_embed.proj.weight"]
            hidden = shapes["backbone.blocks.0.mlp.fc1.weight"][0]
        except (KeyError, ValueError) as error:
            raise ConfigError(f"these are no weights of WiLoR: {error}") from error
        usual = _PUBLISHED_HEADS if width == _PUBLISHED_WIDTH else max(width // _SMALL_HEAD, 1)
        blocks = {found[1] for key in shapes if (found := re.match(r"backbone\.blocks\.(\d+)\.", key))}
        bias = "backbone.blocks.0.attn.qkv.bias" in shapes
        return cls(width, len(blocks), usual if heads is None else heads, hidden, patch, bias)


def check_stated(stated: Any) -> None:
    """Raise ConfigError if a checkpoint's configuration is another network's. What it leaves out is not checked."""
    for path, wanted in _FIXED.items():
        value = stated
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None and value != wanted:
            raise ConfigError(f"{'.'.join(path)} is {value!r}; only networks with {wanted!r} are known")
