"""Sizes of Zero123++'s networks: those of v1.2 by default, smaller ones in tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geoflow.models.diffusion.config import NORM_GROUPS, ComponentConfig, TowerConfig, check_groups

_DOWN = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
_UP = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
_BICUBIC = 3  # as Pillow numbers its filters


@dataclass(frozen=True)
class UNetConfig(ComponentConfig):
    """The UNet of Stable Diffusion 2."""

    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    attention_head_dim: tuple[int, ...] = (5, 10, 20, 20)  # the number of heads, in spite of its name
    layers_per_block: int = 2
    transformer_layers_per_block: int = 1
    cross_attention_dim: int = 1024
    norm_num_groups: int = NORM_GROUPS
    use_linear_projection: bool = True
    down_block_types: tuple[str, ...] = _DOWN
    up_block_types: tuple[str, ...] = _UP

    def check(self) -> None:
        levels = len(self.block_out_channels)
        if levels != len(self.attention_head_dim):
            raise ValueError("block_out_channels and attention_head_dim should be equally many")
        down = (_DOWN[0],) * (levels - 1) + _DOWN[-1:]
        if self.down_block_types != down or self.up_block_types != tuple(t.replace("Down", "Up") for t in down[::-1]):
            raise ValueError("every block but the deepest should have attention")
        if not self.use_linear_projection:
            raise ValueError("use_linear_projection should be true")
        check_groups(self.block_out_channels, self.norm_num_groups)


@dataclass(frozen=True)
class TextConfig(TowerConfig):
    """The text tower of CLIP, without the last layer: what Stable Diffusion 2 has."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 23
    vocab_size: int = 49408
    max_position_embeddings: int = 77


@dataclass(frozen=True)
class SchedulerConfig(ComponentConfig):
    """Noise levels of the training. Steps are spaced as Zero123++ was used, whatever the published file says of it."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "linear"
    trained_betas: Any = None
    prediction_type: str = "v_prediction"

    def check(self) -> None:
        given = (self.prediction_type, self.beta_schedule, self.trained_betas)
        if given != ("v_prediction", "linear", None):
            raise ValueError("only v-prediction on linear betas is known here")


@dataclass(frozen=True)
class ExtractorConfig(ComponentConfig):
    """How a picture becomes the input of a network: a published `preprocessor_config.json`."""

    size: Any = 512  # px of the shorter side
    crop_size: Any = 512
    image_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: tuple[float, ...] = (0.8, 0.8, 0.8)
    resample: int = _BICUBIC

    def check(self) -> None:
        if self.resample != _BICUBIC:
            raise ValueError(f"resample should be {_BICUBIC}, bicubic")
        if self.crop > self.shortest:
            raise ValueError("crop_size should be at most size")
        if len(self.image_mean) != 3 or len(self.image_std) != 3:
            raise ValueError("image_mean and image_std should have three numbers")

    @property
    def shortest(self) -> int:
        """Pixels of the resized picture's shorter side."""
        return _pixels(self.size, "shortest_edge")

    @property
    def crop(self) -> int:
        """Pixels of each side of what is cut out of its middle."""
        sides = {_pixels(self.crop_size, name) for name in ("height", "width")}
        if len(sides) != 1:
            raise ValueError("crop_size should be a square")
        return sides.pop()


def _pixels(given: Any, name: str) -> int:
    value = given.get(name) if isinstance(given, Mapping) else given
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"a size should be pixels, or {{{name!r}: pixels}}, found {given}")
    return value


CLIP_EXTRACTOR = ExtractorConfig(224, 224, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
