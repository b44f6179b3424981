"""Sizes of GeometryCrafter's networks: the published ones by default, smaller ones in tests.

Field names are those of the components' published `config.json`, so that one can be read into the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from geoflow.errors import ConfigError
from geoflow.models.diffusion.config import (
    IMAGE_ENCODER,
    NORM_GROUPS,
    CLIPVisionConfig,
    ComponentConfig,
    ImageVAEConfig,
    check_groups,
)
from geoflow.models.diffusion.published import read_config

# Keys of published files that no network here has: the image VAE only encodes, and positions are counted.
NEVER_USED = {"vae": ("decoder.",), "image_encoder": ("vision_model.embeddings.position_ids",)}
_CHANNELS = {"diff": 12, "determ": 8}  # of the UNet's input
_DOWN = ("CrossAttnDownBlockSpatioTemporal",) * 3 + ("DownBlockSpatioTemporal",)
_UP = ("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * 3


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
        check_groups(self.block_out_channels)


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
    enc_down_block_types: tuple[str, ...] = IMAGE_ENCODER

    def check(self) -> None:
        if set(self.enc_down_block_types) != set(IMAGE_ENCODER):
            raise ValueError(f"enc_down_block_types should be {IMAGE_ENCODER[0]}")
        if self.out_channels != (1, 1, 1):
            raise ValueError("out_channels should be (1, 1, 1): intrinsics, log depth, mask")
        if self.dec_block_out_channels[0] % (2 * NORM_GROUPS):
            raise ValueError(f"the first of dec_block_out_channels should be a multiple of {2 * NORM_GROUPS}")
        check_groups(self.enc_block_out_channels + self.dec_block_out_channels)


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
        return cls(UNetConfig(in_channels=_CHANNELS[model_type]))

    @classmethod
    def read(cls, folders: Mapping[str, Path]) -> ModelConfig:
        """Return the sizes of networks in `published_folders`. Raises ConfigError that names a file it cannot read."""
        return cls(
            read_config(folders["unet"], UNetConfig),
            read_config(folders["point_map_vae"], PointMapVAEConfig),
            read_config(folders["vae"], ImageVAEConfig),
            read_config(folders["image_encoder"], CLIPVisionConfig),
            read_config(folders["vae"].parent / "scheduler", SchedulerConfig, "scheduler_config.json"),
        )

    def require(self, model_type: str) -> None:
        """Raise ConfigError unless the UNet is one of `diff` or `determ`, as asked for."""
        if (found := self.unet.in_channels) != _CHANNELS[model_type]:
            raise ConfigError(f"{model_type} needs a UNet of {_CHANNELS[model_type]} input channels, found {found}")


def published_folders(crafter: Path | str, diffusion: Path | str, model_type: str) -> dict[str, Path]:
    """Return the folder of each network of `diff` or `determ`, in the hub's layout."""
    crafter, diffusion = Path(crafter), Path(diffusion)
    return {
        "unet": crafter / f"unet_{model_type}",
        "point_map_vae": crafter / "point_map_vae",
        "vae": diffusion / "vae",
        "image_encoder": diffusion / "image_encoder",
    }
