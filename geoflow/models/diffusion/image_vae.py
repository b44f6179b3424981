"""The image autoencoder (Rombach et al. 2022), frame by frame; its encoder serves point maps, too."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.diffusion.attention import SelfAttention
from geoflow.models.diffusion.config import NORM_GROUPS, ImageVAEConfig
from geoflow.models.diffusion.norm import group_norm
from geoflow.models.diffusion.residual import Downsample, ResidualBlock, Upsample

EPS = 1e-6  # of every norm here

_LOGVAR_RANGE = (-30.0, 20.0)


class PixelAttention(SelfAttention):
    """Single-head self attention over the pixels of a frame, after a norm and with a residual."""

    def __init__(self, channels: int, groups: int = NORM_GROUPS) -> None:
        super().__init__(channels, heads=1, bias=True)
        self.group_norm = group_norm(channels, EPS, groups)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, h, w) to the same."""
        tokens = self.group_norm(x).permute(0, 2, 3, 1).flatten(1, 2)  # (N, P, C)
        return x + super().forward(tokens).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class EncoderLevel(nn.Module):
    """Residual blocks, then half the size."""

    def __init__(self, in_channels: int, channels: int, layers: int, last: bool, groups: int) -> None:
        super().__init__()
        self.resnets = _blocks(in_channels, channels, layers, groups)
        self.downsamplers = nn.ModuleList([] if last else [Downsample(channels, pad_all_round=False)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.resnets, *self.downsamplers):
            x = layer(x)
        return x


class Middle(nn.Module):
    """Residual block, attention over pixels, residual block."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([PixelAttention(channels, groups)])
        self.resnets = _blocks(channels, channels, 2, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Encoder(nn.Module):
    """Images (N, C, H, W) to (N, C', H / 8, W / 8)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: tuple[int, ...],
        layers: int,
        groups: int = NORM_GROUPS,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            EncoderLevel(widths[max(i - 1, 0)], width, layers, i == len(widths) - 1, groups)
            for i, width in enumerate(widths)
        )
        self.mid_block = Middle(widths[-1], groups)
        self.conv_norm_out = group_norm(widths[-1], EPS, groups)
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x)), inplace=True))


class DecoderLevel(nn.Module):
    """Residual blocks, then twice the size."""

    def __init__(self, in_channels: int, channels: int, layers: int, last: bool, groups: int) -> None:
        super().__init__()
        self.resnets = _blocks(in_channels, channels, layers, groups)
        self.upsamplers = nn.ModuleList([] if last else [Upsample(channels)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.resnets, *self.upsamplers):
            x = layer(x)
        return x


class Decoder(nn.Module):
    """Latents (N, C', h, w) to images (N, C, 8 h, 8 w)."""

    def __init__(self, config: ImageVAEConfig) -> None:
        super().__init__()
        widths, groups, layers = config.block_out_channels[::-1], config.norm_num_groups, config.layers_per_block + 1
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = Middle(widths[0], groups)
        self.up_blocks = nn.ModuleList(
            DecoderLevel(widths[max(i - 1, 0)], width, layers, i == len(widths) - 1, groups)
            for i, width in enumerate(widths)
        )
        self.conv_norm_out = group_norm(widths[-1], EPS, groups)
        self.conv_out = nn.Conv2d(widths[-1], config.out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(x))
        for level in self.up_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(x), inplace=True))


class ImageVAE(nn.Module):
    """The encoder of the image autoencoder; it yields a normal distribution over latents."""

    def __init__(self, config: ImageVAEConfig) -> None:
        super().__init__()
        self.encoder = Encoder(
            config.in_channels,
            2 * config.latent_channels,
            config.block_out_channels,
            config.layers_per_block,
            config.norm_num_groups,
        )
        self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, 3, H, W) in -1..1 to mean and log variance, each (N, 4, H / 8, W / 8)."""
        return split_moments(self.quant_conv(self.encoder(images)))


class ImageAutoencoder(ImageVAE):
    """Encoder and decoder."""

    def __init__(self, config: ImageVAEConfig) -> None:
        super().__init__(config)
        self.decoder = Decoder(config)
        self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, 1)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (N, 4, h, w), at the autoencoder's own scale, to images (N, 3, 8 h, 8 w), about -1..1."""
        return self.decoder(self.post_quant_conv(latents))


def _blocks(in_channels: int, channels: int, count: int, groups: int) -> nn.ModuleList:
    pairs = ((in_channels if i == 0 else channels, channels) for i in range(count))
    return nn.ModuleList(ResidualBlock(*pair, EPS, groups=groups) for pair in pairs)


def split_moments(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and clamped log variance of what an encoder yields: (N, 2 C, h, w) to twice (N, C, h, w)."""
    mean, logvar = torch.chunk(moments, 2, dim=1)
    return mean, logvar.clamp(*_LOGVAR_RANGE)
