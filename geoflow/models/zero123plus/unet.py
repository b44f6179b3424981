"""The UNet of Stable Diffusion 2 (Rombach et al. 2022), whose self attention can see another picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.diffusion.attention import Attention, FeedForward, attend
from geoflow.models.diffusion.embedding import EmbeddingMLP, sinusoidal
from geoflow.models.diffusion.norm import group_norm
from geoflow.models.diffusion.residual import ResidualBlock
from geoflow.models.diffusion.unet_levels import Makers, Place, UNetLevels
from geoflow.models.zero123plus.config import UNetConfig
from geoflow.models.zero123plus.reference import Exchange

_EPS, _TRANSFORMER_EPS = 1e-5, 1e-6


class ReferenceAttention(Attention):
    """Every token attends to its own picture's tokens and to what the exchange adds."""

    def forward(self, x: Tensor, exchange: Exchange) -> Tensor:
        seen = exchange.seen(x)
        return self.to_out(attend(self.to_q(x), self.to_k(seen), self.to_v(seen), self.heads))


class CrossAttention(Attention):
    """Every token (N, L, C) attends to a context (N, M, D)."""

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.to_out(attend(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class TransformerBlock(nn.Module):
    """Self attention, cross attention and a feed-forward layer, each after a norm and with a residual."""

    def __init__(self, channels: int, heads: int, context_channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = ReferenceAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = CrossAttention(channels, heads, context_channels)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def forward(self, x: Tensor, context: Tensor, exchange: Exchange) -> Tensor:
        x = x + self.attn1(self.norm1(x), exchange)
        x += self.attn2(self.norm2(x), context)
        return x.add_(self.ff(self.norm3(x)))


class PixelTransformer(nn.Module):
    """Transformer blocks over the pixels of a map, between two projections; with a residual."""

    def __init__(self, channels: int, heads: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm = group_norm(channels, _TRANSFORMER_EPS, config.norm_num_groups)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(channels, heads, config.cross_attention_dim)
            for _ in range(config.transformer_layers_per_block)
        )
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor, exchange: Exchange) -> Tensor:
        tokens = self.proj_in(self.norm(x).permute(0, 2, 3, 1).flatten(1, 2))
        for block in self.transformer_blocks:
            tokens = block(tokens, context, exchange)
        return x + self.proj_out(tokens).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class PicturePass:
    """What the blocks need in one pass: time embedding (1, E) after SiLU, context (N, M, D), the other picture."""

    emb: Tensor
    context: Tensor
    exchange: Exchange

    def residual(self, block: nn.Module, x: Tensor, skip: Tensor | None) -> Tensor:
        return block(x if skip is None else torch.cat([x, skip], dim=1), self.emb)

    def attention(self, block: nn.Module, x: Tensor) -> Tensor:
        return block(x, self.context, self.exchange)


class UNet(UNetLevels):
    """Predicts v of noisy latents."""

    def __init__(self, config: UNetConfig) -> None:
        widths, groups = config.block_out_channels, config.norm_num_groups
        emb_channels = 4 * widths[0]

        def residual(in_channels: int, channels: int, place: Place) -> nn.Module:
            return ResidualBlock(in_channels, channels, _EPS, emb_channels, groups)

        def attention(channels: int, heads: int) -> nn.Module:
            return PixelTransformer(channels, heads, config)

        super().__init__(widths, config.attention_head_dim, config.layers_per_block, Makers(residual, attention))
        self.config = config
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = EmbeddingMLP(widths[0], emb_channels)
        self.conv_norm_out = group_norm(widths[0], _EPS, groups)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def forward(self, sample: Tensor, timestep: float, context: Tensor, exchange: Exchange) -> Tensor:
        """sample (N, 4, h, w) at unit variance, timestep of the training, context (N, M, D) to v (N, 4, h, w)."""
        time = torch.full((1,), timestep, dtype=torch.float32, device=sample.device)
        emb = self.time_embedding(sinusoidal(time, self.config.block_out_channels[0]).to(sample.dtype))
        x = self.through(self.conv_in(sample), PicturePass(F.silu(emb), context, exchange))
        return self.conv_out(F.silu(self.conv_norm_out(x), inplace=True))
