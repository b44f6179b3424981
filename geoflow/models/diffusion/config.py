"""Sizes of networks that several models share: the published ones by default, smaller ones in tests.

Field names are those of the components' published `config.json`, so that one can be read into the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from geoflow.errors import ConfigError

NORM_GROUPS = 32  # of every published GroupNorm, whatever the width
LATENT_STRIDE = 8  # pixels of a frame to one latent, in both autoencoders
LATENT_SCALE = 0.18215  # latents of the diffusion model over those of the image autoencoder

CLIP_INPUT_SIZE = 224  # px, of the published towers
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

IMAGE_ENCODER = ("DownEncoderBlock2D",) * 4

Config = TypeVar("Config", bound="ComponentConfig")


@dataclass(frozen=True)
class ComponentConfig:
    """The common base of the sizes of all components: reads and checks them."""

    @classmethod
    def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
        """Read a published `config.json`; entries that are not sizes (class names, versions, …) are ignored.

        Raises ConfigError if an entry requires another architecture.
        """
        known = {row.name: row for row in dataclasses.fields(cls)}
        given = {name: _frozen(value) for name, value in values.items() if name in known}
        try:
            config = cls(**given)
            config.check()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{cls.__name__} cannot be made from {given}: {error}") from error
        return config

    def check(self) -> None:
        """Raise ValueError if the sizes do not fit together, or belong to another architecture."""


@dataclass(frozen=True)
class ImageVAEConfig(ComponentConfig):
    """The image autoencoder of Stable Diffusion. Stable Video Diffusion's has the same encoder, and another decoder."""

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = NORM_GROUPS
    scaling_factor: float = LATENT_SCALE
    down_block_types: tuple[str, ...] = IMAGE_ENCODER

    def check(self) -> None:
        types, levels = self.down_block_types, len(self.block_out_channels)
        if set(types) != set(IMAGE_ENCODER) or len(types) != levels:
            raise ValueError(f"down_block_types should be {IMAGE_ENCODER[0]}, one for each width")
        if self.scaling_factor != LATENT_SCALE:
            raise ValueError(f"scaling_factor should be {LATENT_SCALE}")
        check_groups(self.block_out_channels, self.norm_num_groups)


@dataclass(frozen=True)
class TowerConfig(ComponentConfig):
    """What the image tower and the text tower of CLIP (Radford et al. 2021) have in common."""

    hidden_size: int = 1280
    intermediate_size: int = 5120
    num_hidden_layers: int = 32
    num_attention_heads: int = 16
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5

    def check(self) -> None:
        if self.hidden_act != "gelu":
            raise ValueError("hidden_act should be gelu, the exact one")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("heads should divide hidden_size")


@dataclass(frozen=True)
class CLIPVisionConfig(TowerConfig):
    """The image tower, ViT-H/14 as OpenCLIP trained it."""

    patch_size: int = 14
    image_size: int = 224
    projection_dim: int = 1024

    def check(self) -> None:
        super().check()
        if self.image_size % self.patch_size:
            raise ValueError("patch_size should divide image_size")


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def check_groups(widths: tuple[int, ...], groups: int = NORM_GROUPS) -> None:
    """Raise ValueError unless the groups of a norm divide every width."""
    if wrong := [width for width in widths if width % groups]:
        raise ValueError(f"widths should be multiples of {groups}, found {wrong}")
