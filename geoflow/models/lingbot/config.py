"""Sizes of a LingBot-Map network; the published checkpoint holds none, so the defaults are those of its program."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geoflow.errors import ConfigError

PATCH = 14  # px, the side of a patch
REGISTERS = 4
SPECIAL = 2 + REGISTERS  # tokens of a frame before its patches: camera, registers, scale
HEAD_DIM = 64  # of the frame and global blocks; the 3D rotary embedding is made for it


@dataclass(frozen=True)
class LingbotConfig:
    """Sizes of the whole network, and what its cache keeps."""

    embed_dim: int = 1024
    heads: int = 16
    depth: int = 24  # frame blocks, and as many global ones
    selected: tuple[int, ...] = (4, 11, 17, 23)  # blocks whose outputs the heads see; the camera head the last alone
    vit_depth: int = 24
    vit_heads: int = 16
    img_size: int = 518  # px of the square pictures that the position table is made for
    trunk_depth: int = 4
    camera_heads: int = 16
    iterations: int = 4  # times that the camera head refines its answer
    dpt_features: int = 256
    dpt_channels: tuple[int, ...] = (256, 512, 1024, 1024)
    window: int = 64  # kept frames that are seen with all their tokens, besides the scale frames
    scale_frames: int = 8  # first kept frames, whose tokens are seen forever
    max_frames: int = 1024  # kept frames that the time axis has room for

    def __post_init__(self) -> None:
        for row in dataclasses.fields(self):
            value = getattr(self, row.name)
            for number in value if isinstance(value, tuple) else (value,):
                if not isinstance(number, int) or isinstance(number, bool) or number < (row.name != "selected"):
                    raise ConfigError(f"{row.name} of a LingBot-Map network should be whole numbers, found {value!r}")
        if self.embed_dim != self.heads * HEAD_DIM:
            raise ConfigError(f"embed_dim should be {HEAD_DIM} times heads, found {self.embed_dim} and {self.heads}")
        if len(self.dpt_channels) != 4 or len(self.selected) != 4 or self.selected[-1] >= self.depth:
            raise ConfigError(f"dpt_channels and selected should be 4 each, of {self.depth} blocks: {self.selected}")
        if list(self.selected) != sorted(set(self.selected)):
            raise ConfigError(f"selected blocks should be in their order, found {self.selected}")
        if self.embed_dim % self.vit_heads or 2 * self.embed_dim % self.camera_heads:
            raise ConfigError(f"a width of {self.embed_dim} cannot be divided among vit_heads or camera_heads")
        if any(width % 4 for width in (*self.dpt_channels, self.dpt_features // 2)):
            raise ConfigError("dpt_channels, and half of dpt_features, should be multiples of 4, for their sine grid")

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> LingbotConfig:
        """Return the sizes that a dictionary states. Raises ConfigError for sizes that cannot be, or unknown names."""
        unknown = sorted(given.keys() - {row.name for row in dataclasses.fields(cls)})
        if unknown:
            raise ConfigError(f"the configuration of a LingBot-Map network has no {unknown[0]!r}")
        sizes: dict[str, Any] = {name: tuple(row) if isinstance(row, list) else row for name, row in given.items()}
        return cls(**sizes)
