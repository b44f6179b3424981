"""Sizes of InstantMesh's networks: those of the published `large` and `base`, smaller ones in tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from geoflow.errors import ConfigError
from geoflow.models.diffusion.config import ComponentConfig


@dataclass(frozen=True)
class EncoderConfig(ComponentConfig):
    """The image transformer: DINO's ViT-B/16 (Caron et al. 2021)."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    image_size: int = 224
    patch_size: int = 16

    def check(self) -> None:
        if self.hidden_size % self.num_attention_heads or self.image_size % self.patch_size:
            raise ValueError("heads should divide hidden_size, and patch_size image_size")


@dataclass(frozen=True)
class ReconstructorConfig(ComponentConfig):
    """The decoder to triplanes, and the grid on which the surface is found; the defaults are those of `large`."""

    transformer_dim: int = 1024
    transformer_layers: int = 16
    transformer_heads: int = 16
    triplane_low_res: int = 32
    triplane_high_res: int = 64
    triplane_dim: int = 80
    grid_res: int = 128
    grid_scale: float = 2.1
    encoder: EncoderConfig = field(default_factory=EncoderConfig)

    def check(self) -> None:
        if self.transformer_dim % self.transformer_heads:
            raise ValueError("transformer_heads should divide transformer_dim")
        if self.triplane_high_res != 2 * self.triplane_low_res:
            raise ValueError("triplane_high_res should be twice triplane_low_res")
        if self.grid_res < 1 or not self.grid_scale > 0:
            raise ValueError("grid_res should be at least 1, and grid_scale above 0")

    @classmethod
    def of(cls, sizes: Mapping[str, Any], encoder: Mapping[str, Any]) -> ReconstructorConfig:
        """Read the sizes of both parts; what is no size is ignored. Raises ConfigError for sizes that do not fit."""
        return replace(cls.from_dict(sizes), encoder=EncoderConfig.from_dict(encoder))


PUBLISHED = {
    "large": ReconstructorConfig(),
    "base": ReconstructorConfig(transformer_layers=12, triplane_dim=40),
}


def published(name: str) -> ReconstructorConfig:
    """Return the sizes of a published model. Raises ConfigError for another name."""
    if name not in PUBLISHED:
        raise ConfigError(f"no InstantMesh model {name!r}; there are: {', '.join(PUBLISHED)}")
    return PUBLISHED[name]
