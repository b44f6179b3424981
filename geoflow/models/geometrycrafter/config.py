"""Sizes of GeometryCrafter's networks: the published ones by default, smaller ones in tests.

Field names are those of the components' published `config.json`, so that one can be read into the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from geoflow.errors import ConfigError

NORM_GROUPS = 32  # of every GroupNorm, whatever the width
LATENT_STRIDE = 8  # pixels of a frame to one latent, in both autoencoders
LATENT_SCALE = 0.18215  # latents of the diffusion model over those of the image autoencoder

_DOWN = ("CrossAttnDownBlockSpatioTemporal",) * 3 + ("DownBlockSpatioTemporal",)
_UP = ("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * 3
_ENCODER = ("DownEncoderBlock2D",) * 4

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
class UNetConfig(ComponentConfig):
    """The spatio-temporal UNet: that of Stable Video Diffusion XT with 12 (diff) or 8 (determ) input channels."""

    in_channels: int = 12
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    num_attention_heads: tuple[int, ...] = (5, 10, 20, 20)
    layers_per_block: int = 2
    transformer_layers_per_block: int = 1
    cross_attention_dim: int = 1024
    addition_time_embed_dim: int = 256
    projection_class_embeddings_input_dim: int = 768
    down_block_types: tuple[str, ...] = _DOWN
    up_block_types: tuple[str, ...] = _UP

    def check(self) -> None:
        levels = len(self.block_out_channels)
        if not levels == len(self.num_attention_heads) == len(self.down_block_types) == len(self.up_block_types):
            raise ValueError("block_out_channels, num_attention_heads and the block types should be equally many")
        down = (_DOWN[0],) * (levels - 1) + _DOWN[-1:]
        if self.down_block_types != down or self.up_block_types != tuple(t.replace("Down", "Up") for t in down[::-1]):
            raise ValueError("every block but the deepest should have attention")
        if self.projection_class_embeddings_input_dim != 3 * self.addition_time_embed_dim:
            raise ValueError("projection_class_embeddings_input_dim should be 3 * addition_time_embed_dim")
        _check_groups(self.block_out_channels)


@dataclass(frozen=True)
class ImageVAEConfig(ComponentConfig):
    """The image autoencoder of Stable Video Diffusion XT, of which only the encoder is used."""

    in_channels: int = 3
    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    scaling_factor: float = LATENT_SCALE
    down_block_types: tuple[str, ...] = _ENCODER

    def check(self) -> None:
        if set(self.down_block_types) != set(_ENCODER) or len(self.down_block_types) != len(self.block_out_channels):
            raise ValueError(f"down_block_types should be {_ENCODER[0]}, one for each width")
        if self.scaling_factor != LATENT_SCALE:
            raise ValueError(f"scaling_factor should be {LATENT_SCALE}")
        _check_groups(self.block_out_channels)


@dataclass(frozen=True)
class PointMapVAEConfig(ComponentConfig):
    """The point-map autoencoder: an encoder beside the image's, and a temporal decoder with three heads."""

    in_channels: int = 4
    latent_channels: int = 4
    enc_block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    enc_layers_per_block: int = 2
    dec_block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    dec_layers_per_block: int = 2
    out_channels: tuple[int, ...] = (1, 1, 1)
    mid_block_add_attention: bool = True
    offset_scale_factor: float = 0.1
    enc_down_block_types: tuple[str, ...] = _ENCODER

    def check(self) -> None:
        if set(self.enc_down_block_types) != set(_ENCODER):
            raise ValueError(f"enc_down_block_types should be {_ENCODER[0]}")
        if self.out_channels != (1, 1, 1):
            raise ValueError("out_channels should be (1, 1, 1): intrinsics, log depth, mask")
        if self.dec_block_out_channels[0] % (2 * NORM_GROUPS):
            raise ValueError(f"the first of dec_block_out_channels should be a multiple of {2 * NORM_GROUPS}")
        _check_groups(self.enc_block_out_channels + self.dec_block_out_channels)


@dataclass(frozen=True)
class CLIPVisionConfig(ComponentConfig):
    """The image tower of CLIP (Radford et al. 2021), ViT-H/14 as OpenCLIP trained it."""

    hidden_size: int = 1280
    intermediate_size: int = 5120
    num_hidden_layers: int = 32
    num_attention_heads: int = 16
    patch_size: int = 14
    image_size: int = 224
    projection_dim: int = 1024
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5

    def check(self) -> None:
        if self.hidden_act != "gelu":
            raise ValueError("hidden_act should be gelu, the exact one")
        if self.hidden_size % self.num_attention_heads or self.image_size % self.patch_size:
            raise ValueError("heads should divide hidden_size, and patch_size image_size")


@dataclass(frozen=True)
class SchedulerConfig(ComponentConfig):
    """Euler steps on noise levels after Karras et al. 2022, equation 5, with v-prediction."""

    sigma_min: float = 0.002
    sigma_max: float = 700.0
    prediction_type: str = "v_prediction"
    use_karras_sigmas: bool = True
    timestep_type: str = "continuous"

    def check(self) -> None:
        given = (self.prediction_type, self.use_karras_sigmas, self.timestep_type)
        if given != ("v_prediction", True, "continuous"):
            raise ValueError("only v-prediction on Karras' noise levels with continuous time is known here")


@dataclass(frozen=True)
class ModelConfig:
    """All components of one variant."""

    unet: UNetConfig = field(default_factory=UNetConfig)
    point_map_vae: PointMapVAEConfig = field(default_factory=PointMapVAEConfig)
    vae: ImageVAEConfig = field(default_factory=ImageVAEConfig)
    image_encoder: CLIPVisionConfig = field(default_factory=CLIPVisionConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)

    @classmethod
    def published(cls, model_type: str) -> ModelConfig:
        """Return the sizes of the published networks of `diff` or `determ`.

        >>> ModelConfig.published("determ").unet.in_channels
        8
        """
        return cls(UNetConfig(in_channels=8 if model_type == "determ" else 12))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_groups(widths: tuple[int, ...]) -> None:
    if wrong := [width for width in widths if width % NORM_GROUPS]:
        raise ValueError(f"widths should be multiples of {NORM_GROUPS}, found {wrong}")
