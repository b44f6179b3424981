"""The image autoencoder's encoder and the point-map autoencoder in Jittor, with the published parameter names."""

from __future__ import annotations

from geoflow.models.diffusion.config import NORM_GROUPS, ImageVAEConfig
from geoflow.models.geometrycrafter.config import PointMapVAEConfig
from geoflow.models.geometrycrafter_jittor.framework import Var, nn
from geoflow.models.geometrycrafter_jittor.layers import (
    Downsample,
    GroupNorm,
    ResidualBlock,
    SelfAttention,
    Upsample,
    by_frames,
    modules,
)
from geoflow.models.geometrycrafter_jittor.video_layers import SpatioTemporalBlock, TemporalConv

_EPS = 1e-6  # of every norm, except the temporal ones of the decoder
_TEMPORAL_EPS = 1e-5


class PixelAttention(SelfAttention):
    """Single-head self attention over the pixels of a frame, after a norm and with a residual."""

    def __init__(self, channels: int, groups: int = NORM_GROUPS) -> None:
        super().__init__(channels, heads=1, bias=True)
        self.group_norm = GroupNorm(channels, _EPS, groups)

    def execute(self, x: Var) -> Var:
        """x (N, C, h, w) to the same."""
        count, channels, height, width = x.shape
        tokens = self.group_norm(x).permute(0, 2, 3, 1).reshape(count, height * width, channels)
        return x + super().execute(tokens).reshape(count, height, width, channels).permute(0, 3, 1, 2)


class EncoderLevel(nn.Module):
    """Residual blocks, then half the size."""

    def __init__(self, in_channels: int, channels: int, layers: int, last: bool, groups: int) -> None:
        self.resnets = modules(
            ResidualBlock(in_channels if i == 0 else channels, channels, _EPS, groups=groups) for i in range(layers)
        )
        self.downsamplers = modules([] if last else [Downsample(channels, pad_all_round=False)])

    def execute(self, x: Var) -> Var:
        for layer in (*self.resnets, *self.downsamplers):
            x = layer(x)
        return x


class Middle(nn.Module):
    """Residual block, attention over pixels, residual block."""

    def __init__(self, channels: int, groups: int) -> None:
        self.attentions = modules([PixelAttention(channels, groups)])
        self.resnets = modules(ResidualBlock(channels, channels, _EPS, groups=groups) for _ in range(2))

    def execute(self, x: Var) -> Var:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Encoder(nn.Module):
    """Images (N, C, H, W) to (N, C', H / 8, W / 8)."""

    def __init__(
        self, in_channels: int, out_channels: int, widths: tuple[int, ...], layers: int, groups: int = NORM_GROUPS
    ) -> None:
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down_blocks = modules(
            EncoderLevel(widths[max(i - 1, 0)], width, layers, i == len(widths) - 1, groups)
            for i, width in enumerate(widths)
        )
        self.mid_block = Middle(widths[-1], groups)
        self.conv_norm_out = GroupNorm(widths[-1], _EPS, groups)
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def execute(self, x: Var) -> Var:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(nn.silu(self.conv_norm_out(self.mid_block(x))))


class ImageVAE(nn.Module):
    """The encoder of the image autoencoder: images (N, 3, H, W) in -1..1 to mean latents (N, 4, H / 8, W / 8)."""

    def __init__(self, config: ImageVAEConfig) -> None:
        widths, layers = config.block_out_channels, config.layers_per_block
        moments = 2 * config.latent_channels
        self.encoder = Encoder(config.in_channels, moments, widths, layers, config.norm_num_groups)
        self.quant_conv = nn.Conv2d(moments, moments, 1)
        self._channels = config.latent_channels

    def execute(self, images: Var) -> Var:
        return self.quant_conv(self.encoder(images))[:, : self._channels]


def _block(in_channels: int, channels: int) -> SpatioTemporalBlock:
    return SpatioTemporalBlock(in_channels, channels, _EPS, _TEMPORAL_EPS, temporal_share=True)


class DecoderMiddle(nn.Module):
    """Residual blocks, with attention over pixels between the first and the second; a single block stays without."""

    def __init__(self, channels: int, layers: int, with_attention: bool) -> None:
        self.attentions = modules([PixelAttention(channels)] if with_attention else [])
        self.resnets = modules(_block(channels, channels) for _ in range(layers))

    def execute(self, x: Var, num_frames: int) -> Var:
        for i, block in enumerate(self.resnets):
            if i == 1:
                for attention in self.attentions:
                    x = by_frames(attention, x)
            x = block(x, num_frames)
        return x


class DecoderLevel(nn.Module):
    """Residual blocks, then twice the size."""

    def __init__(self, in_channels: int, channels: int, layers: int, last: bool) -> None:
        self.resnets = modules(_block(in_channels if i == 0 else channels, channels) for i in range(layers))
        self.upsamplers = modules([] if last else [Upsample(channels)])

    def execute(self, x: Var, num_frames: int) -> Var:
        for block in self.resnets:
            x = block(x, num_frames)
            x.sync()  # maps are largest here
        for upsample in self.upsamplers:
            x = upsample(x)
        return x


class Head(nn.Sequential):
    """From shared features (N, C, H, W) to one map (N, 1, H, W), before the last convolution over time."""

    def __init__(self, channels: int) -> None:
        half = channels // 2
        super().__init__(
            GroupNorm(channels, _EPS),
            nn.ReLU(),
            nn.Conv2d(channels, half, 3, padding=1),
            _block(half, half),
            nn.ReLU(),
            nn.Conv2d(half, 1, 1),
        )

    def execute(self, x: Var, num_frames: int) -> Var:
        norm, relu, conv, block, _, last = self
        x = block(by_frames(lambda part: conv(relu(norm(part))), x), num_frames)
        return by_frames(lambda part: last(relu(part)), x)


class Decoder(nn.Module):
    """Latents of a group of frames to intrinsics, log depth and mask logit."""

    def __init__(self, config: PointMapVAEConfig) -> None:
        widths, layers = config.dec_block_out_channels[::-1], config.dec_layers_per_block
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = DecoderMiddle(widths[0], layers, config.mid_block_add_attention)
        self.up_blocks = modules(
            DecoderLevel(widths[max(i - 1, 0)], width, layers + 1, last=i == len(widths) - 1)
            for i, width in enumerate(widths)
        )
        self.out_blocks = modules(Head(widths[-1]) for _ in config.out_channels)
        self.time_conv_outs = modules(TemporalConv(1) for _ in config.out_channels)

    def execute(self, latents: Var, num_frames: int) -> tuple[Var, Var, Var]:
        x = self.mid_block(self.conv_in(latents), num_frames)
        for level in self.up_blocks:
            x = level(x, num_frames)
        maps = []
        for head, conv in zip(self.out_blocks, self.time_conv_outs):
            found = head(x, num_frames)
            maps.append(conv(found.reshape(-1, 1, num_frames, found.numel() // len(found))).reshape(found.shape))
        intrinsics, log_depth, logit = maps
        return intrinsics, log_depth, logit


class PointMapVAE(nn.Module):
    """Encoder and decoder; they are used at different times."""

    def __init__(self, config: PointMapVAEConfig) -> None:
        self._scale = config.offset_scale_factor
        self.encoder = Encoder(
            config.in_channels, config.latent_channels, config.enc_block_out_channels, config.enc_layers_per_block
        )
        self.decoder = Decoder(config)

    def encode(self, maps: Var, mean: Var) -> Var:
        """Mean latents (N, 4, h, w) of a frame's prior.

        maps (N, 4, H, W): intrinsics norm, log depth, disparity and mask, the last two in -1..1; mean (N, 4, h, w):
        the image autoencoder's of the disparity.
        """
        return mean + self._scale * self.encoder(maps)

    def decode(self, latents: Var, num_frames: int) -> tuple[Var, Var, Var]:
        """Maps of latents (N, 4, h, w), decoded `num_frames` at a time: the frames of a group see each other.

        Returns, each (N, 1, 8 h, 8 w): tangents of half the diagonal field of view, log depth, mask logit.
        """
        return self.decoder(latents, num_frames)
