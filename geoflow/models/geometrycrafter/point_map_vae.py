"""The point-map autoencoder of GeometryCrafter (Xu et al. 2025, section 3.1).

Its encoder adds an offset to the image autoencoder's latents of the disparity, so that latents stay in the range that
the diffusion model knows. Its decoder gets some frames together and yields three maps at full size.
"""

from __future__ import annotations

from torch import Tensor, nn

from geoflow.models.diffusion.frame_batches import by_frames
from geoflow.models.diffusion.image_vae import EPS, Encoder, PixelAttention
from geoflow.models.diffusion.norm import group_norm
from geoflow.models.diffusion.residual import Upsample
from geoflow.models.geometrycrafter.config import PointMapVAEConfig
from geoflow.models.geometrycrafter.residual import SpatioTemporalBlock, TemporalConv

_TEMPORAL_EPS = 1e-5


def _block(in_channels: int, channels: int) -> SpatioTemporalBlock:
    return SpatioTemporalBlock(in_channels, channels, EPS, _TEMPORAL_EPS, temporal_share=True)


class DecoderMiddle(nn.Module):
    """Residual blocks, with attention over pixels between the first and the second; a single block stays without."""

    def __init__(self, channels: int, layers: int, with_attention: bool) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([PixelAttention(channels)] if with_attention else [])
        self.resnets = nn.ModuleList(_block(channels, channels) for _ in range(layers))

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        for i, block in enumerate(self.resnets):
            if i == 1:
                for attention in self.attentions:
                    x = by_frames(attention, x)
            x = block(x, num_frames)
        return x


class DecoderLevel(nn.Module):
    """Residual blocks, then twice the size."""

    def __init__(self, in_channels: int, channels: int, layers: int, last: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_block(in_channels if i == 0 else channels, channels) for i in range(layers))
        self.upsamplers = nn.ModuleList([] if last else [Upsample(channels)])

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        for block in self.resnets:
            x = block(x, num_frames)
        for upsample in self.upsamplers:
            x = upsample(x)
        return x


class Head(nn.ModuleList):
    """From shared features to one map, before the last convolution over time."""

    def __init__(self, channels: int) -> None:
        half = channels // 2
        super().__init__(
            [
                group_norm(channels, EPS),
                nn.ReLU(inplace=True),
                nn.Conv2d(channels, half, 3, padding=1),
                _block(half, half),
                nn.ReLU(inplace=True),
                nn.Conv2d(half, 1, 1),
            ]
        )

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """(N, C, H, W) to (N, 1, H, W)."""
        x = self[3](by_frames(lambda part: self._through(part, 0, 3), x), num_frames)
        return by_frames(lambda part: self._through(part, 4, 6), x)

    def _through(self, x: Tensor, first: int, stop: int) -> Tensor:
        for i in range(first, stop):
            x = self[i](x)
        return x


class Decoder(nn.Module):
    """Latents of a group of frames to intrinsics, log depth and mask logit."""

    def __init__(self, config: PointMapVAEConfig) -> None:
        super().__init__()
        widths, layers = config.dec_block_out_channels[::-1], config.dec_layers_per_block
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = DecoderMiddle(widths[0], layers, config.mid_block_add_attention)
        self.up_blocks = nn.ModuleList(
            DecoderLevel(widths[max(i - 1, 0)], width, layers + 1, last=i == len(widths) - 1)
            for i, width in enumerate(widths)
        )
        self.out_blocks = nn.ModuleList(Head(widths[-1]) for _ in config.out_channels)
        self.time_conv_outs = nn.ModuleList(TemporalConv(1) for _ in config.out_channels)

    def forward(self, latents: Tensor, num_frames: int) -> tuple[Tensor, Tensor, Tensor]:
        x = self.mid_block(self.conv_in(latents), num_frames)
        for level in self.up_blocks:
            x = level(x, num_frames)
        maps = []
        for head, conv in zip(self.out_blocks, self.time_conv_outs):
            found = head(x, num_frames)
            maps.append(conv(found.reshape(-1, 1, num_frames, found[0].numel())).reshape(found.shape))
        intrinsics, log_depth, logit = maps
        return intrinsics, log_depth, logit


class PointMapVAE(nn.Module):
    """Encoder and decoder; they are used at different times."""

    def __init__(self, config: PointMapVAEConfig) -> None:
        super().__init__()
        self.offset_scale_factor = config.offset_scale_factor
        self.encoder = Encoder(
            config.in_channels, config.latent_channels, config.enc_block_out_channels, config.enc_layers_per_block
        )
        self.decoder = Decoder(config)

    def encode(self, maps: Tensor, mean: Tensor) -> Tensor:
        """Mean latents (N, 4, h, w) of a frame's prior.

        maps (N, 4, H, W): intrinsics norm, log depth, disparity and mask, the last two in -1..1; mean (N, 4, h, w):
        the image autoencoder's of the disparity.
        """
        return mean + self.offset_scale_factor * self.encoder(maps)

    def decode(self, latents: Tensor, num_frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of latents (N, 4, h, w), decoded `num_frames` at a time: the frames of a group see each other.

        Returns, each (N, 1, 8 h, 8 w): tangents of half the diagonal field of view, log depth, mask logit.
        """
        return self.decoder(latents, num_frames)
