"""The encoder of an image autoencoder (Rombach et al. 2022), frame by frame: one for images, one for point maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.geometrycrafter.attention import SelfAttention
from geoflow.models.geometrycrafter.config import ImageVAEConfig
from geoflow.models.geometrycrafter.norm import group_norm
from geoflow.models.geometrycrafter.residual import Downsample, ResidualBlock

EPS = 1e-6  # of every norm here

_LOGVAR_RANGE = (-30.0, 20.0)


class PixelAttention(SelfAttention):
    """Single-head self attention over the pixels of a frame, after a norm and with a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, heads=1, bias=True)
        self.group_norm = group_norm(channels, EPS)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, h, w) to the same."""
        tokens = self.group_norm(x).permute(0, 2, 3, 1).flatten(1, 2)  # (N, P, C)
        return x + super().forward(tokens).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class EncoderLevel(nn.Module):
    """Residual blocks, then half the size."""

    def __init__(self, in_channels: int, channels: int, layers: int, last: bool) -> None:
        super().__init__()
        blocks = (ResidualBlock(in_channels if i == 0 else channels, channels, EPS) for i in range(layers))
        self.resnets = nn.ModuleList(blocks)
        self.downsamplers = nn.ModuleList([] if last else [Downsample(channels, pad_all_round=False)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.resnets, *self.downsamplers):
            x = layer(x)
        return x


class EncoderMiddle(nn.Module):
    """Residual block, attention over pixels, residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([PixelAttention(channels)])
        self.resnets = nn.ModuleList(ResidualBlock(channels, channels, EPS) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Encoder(nn.Module):
    """Images (N, C, H, W) to (N, C', H / 8, W / 8)."""

    def __init__(self, in_channels: int, out_channels: int, widths: tuple[int, ...], layers: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            EncoderLevel(widths[max(i - 1, 0)], width, layers, last=i == len(widths) - 1)
            for i, width in enumerate(widths)
        )
        self.mid_block = EncoderMiddle(widths[-1])
        self.conv_norm_out = group_norm(widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x)), inplace=True))


class ImageVAE(nn.Module):
    """The encoder of the image autoencoder; it yields a normal distribution over latents."""

    def __init__(self, config: ImageVAEConfig) -> None:
        super().__init__()
        self.encoder = Encoder(
            config.in_channels, 2 * config.latent_channels, config.block_out_channels, config.layers_per_block
        )
        self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, 3, H, W) in -1..1 to mean and log variance, each (N, 4, H / 8, W / 8)."""
        return split_moments(self.quant_conv(self.encoder(images)))


def split_moments(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and clamped log variance of what an encoder yields: (N, 2 C, h, w) to twice (N, C, h, w)."""
    mean, logvar = torch.chunk(moments, 2, dim=1)
    return mean, logvar.clamp(*_LOGVAR_RANGE)
