"""The video-to-video UNet: the UNet of Stable Video Diffusion (Blattmann et al. 2023), with priors instead of an
image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.diffusion.embedding import EmbeddingMLP, sinusoidal
from geoflow.models.diffusion.norm import group_norm
from geoflow.models.diffusion.unet_levels import Makers, Place, UNetLevels
from geoflow.models.geometrycrafter.attention import SpatioTemporalTransformer
from geoflow.models.geometrycrafter.config import UNetConfig
from geoflow.models.geometrycrafter.residual import SpatioTemporalBlock

# Epsilons of the norms in residual blocks: as the published networks were trained, not as their configuration says.
_EPS: dict[Place, float] = {"down": 1e-6, "down without attention": 1e-5, "middle": 1e-5, "up": 1e-6}


@dataclass(frozen=True)
class VideoPass:
    """What the blocks need in one pass: frames of each video, time embedding (B, E) after SiLU, images (B, T, D)."""

    num_frames: int
    emb: Tensor
    context: Tensor

    def residual(self, block: nn.Module, x: Tensor, skip: Tensor | None) -> Tensor:
        return block(x, self.num_frames, self.emb, skip)

    def attention(self, block: nn.Module, x: Tensor) -> Tensor:
        return block(x, self.num_frames, self.context)


class UNet(UNetLevels):
    """Predicts v (diff) or minus the latents (determ) of a window of frames."""

    def __init__(self, config: UNetConfig) -> None:
        widths = config.block_out_channels
        emb_channels = 4 * widths[0]
        depth, images = config.transformer_layers_per_block, config.cross_attention_dim

        def residual(in_channels: int, channels: int, place: Place) -> nn.Module:
            return SpatioTemporalBlock(in_channels, channels, _EPS[place], emb_channels=emb_channels)

        def attention(channels: int, heads: int) -> nn.Module:
            return SpatioTemporalTransformer(channels, heads, images, depth)

        super().__init__(widths, config.num_attention_heads, config.layers_per_block, Makers(residual, attention))
        self.config = config
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = EmbeddingMLP(widths[0], emb_channels)
        self.add_embedding = EmbeddingMLP(config.projection_class_embeddings_input_dim, emb_channels)
        self.conv_norm_out = group_norm(widths[0], 1e-5)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def forward(self, sample: Tensor, timestep: float, context: Tensor, added_ids: Tensor) -> Tensor:
        """One prediction.

        sample (B, T, C, h, w) · timestep, ln(sigma) / 4 · context (B, T, D): an image embedding per frame ·
        added_ids (B, 3) float32: frame rate, motion bucket, noise strength. Returns (B, T, 4, h, w).
        """
        num_frames = sample.shape[1]
        run = VideoPass(num_frames, F.silu(self.embed(timestep, added_ids)), context)
        x = self.through(self.conv_in(sample.flatten(0, 1)), run)
        x = self.conv_out(F.silu(self.conv_norm_out(x), inplace=True))
        return x.unflatten(0, (-1, num_frames))

    def embed(self, timestep: float, added_ids: Tensor) -> Tensor:
        """Embedding (B, E) of the time step and the added ids (B, 3)."""
        dtype = self.conv_in.weight.dtype
        time = torch.full((len(added_ids),), timestep, dtype=torch.float32, device=added_ids.device)
        time_emb = self.time_embedding(sinusoidal(time, self.config.block_out_channels[0]).to(dtype))
        ids = sinusoidal(added_ids.flatten(), self.config.addition_time_embed_dim)
        return time_emb + self.add_embedding(ids.reshape(len(added_ids), -1).to(dtype))
