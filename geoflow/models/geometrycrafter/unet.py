"""The video-to-video UNet: the UNet of Stable Video Diffusion (Blattmann et al. 2023), with priors instead of an
image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.diffusion.embedding import EmbeddingMLP, sinusoidal
from geoflow.models.diffusion.norm import group_norm
from geoflow.models.diffusion.residual import Downsample, Upsample
from geoflow.models.geometrycrafter.attention import SpatioTemporalTransformer
from geoflow.models.geometrycrafter.config import UNetConfig
from geoflow.models.geometrycrafter.residual import SpatioTemporalBlock

# Epsilons of the norms in residual blocks: as the published networks were trained, not as their configuration says.
_EPS_WITH_ATTENTION = 1e-6
_EPS_WITHOUT = 1e-5
_EPS_UP = 1e-6


class _Level(nn.Module):
    """Residual blocks, each followed by a transformer where the level has attention."""

    def __init__(self, widths: list[tuple[int, int]], eps: float, config: UNetConfig, heads: int) -> None:
        super().__init__()
        emb_channels = 4 * config.block_out_channels[0]
        if heads:
            depth, context = config.transformer_layers_per_block, config.cross_attention_dim
            self.attentions = nn.ModuleList(SpatioTemporalTransformer(w, heads, context, depth) for _, w in widths)
        self.resnets = nn.ModuleList(SpatioTemporalBlock(*pair, eps, emb_channels=emb_channels) for pair in widths)
        self._with_attention = heads > 0

    def step(
        self, i: int, x: Tensor, num_frames: int, emb: Tensor, context: Tensor, skip: Tensor | None = None
    ) -> Tensor:
        x = self.resnets[i](x, num_frames, emb, skip)
        return self.attentions[i](x, num_frames, context) if self._with_attention else x


class DownLevel(_Level):
    """A level on the way down; `forward` also returns the skips for the way up."""

    def __init__(self, in_channels: int, channels: int, heads: int, last: bool, config: UNetConfig) -> None:
        widths = [(in_channels if i == 0 else channels, channels) for i in range(config.layers_per_block)]
        super().__init__(widths, _EPS_WITH_ATTENTION if heads else _EPS_WITHOUT, config, heads)
        if not last:
            self.downsamplers = nn.ModuleList([Downsample(channels, pad_all_round=True)])
        self._last = last

    def forward(self, x: Tensor, num_frames: int, emb: Tensor, context: Tensor) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for i in range(len(self.resnets)):
            x = self.step(i, x, num_frames, emb, context)
            skips.append(x)
        if not self._last:
            x = self.downsamplers[0](x)
            skips.append(x)
        return x, skips


class MiddleLevel(_Level):
    """Residual block, transformer, residual block."""

    def __init__(self, config: UNetConfig) -> None:
        channels = config.block_out_channels[-1]
        super().__init__([(channels, channels)], _EPS_WITHOUT, config, config.num_attention_heads[-1])
        emb_channels = 4 * config.block_out_channels[0]
        self.resnets.append(SpatioTemporalBlock(channels, channels, _EPS_WITHOUT, emb_channels=emb_channels))

    def forward(self, x: Tensor, num_frames: int, emb: Tensor, context: Tensor) -> Tensor:
        x = self.step(0, x, num_frames, emb, context)
        return self.resnets[1](x, num_frames, emb)


class UpLevel(_Level):
    """A level on the way up; it takes as many skips from the end of the list as it has residual blocks."""

    def __init__(
        self, below: int, channels: int, skip_widths: list[int], heads: int, last: bool, config: UNetConfig
    ) -> None:
        widths = [((below if i == 0 else channels) + skip, channels) for i, skip in enumerate(skip_widths)]
        super().__init__(widths, _EPS_UP, config, heads)
        if not last:
            self.upsamplers = nn.ModuleList([Upsample(channels)])
        self._last = last

    def forward(self, x: Tensor, skips: list[Tensor], num_frames: int, emb: Tensor, context: Tensor) -> Tensor:
        for i in range(len(self.resnets)):
            x = self.step(i, x, num_frames, emb, context, skips.pop())
        return x if self._last else self.upsamplers[0](x)


class UNet(nn.Module):
    """Predicts v (diff) or minus the latents (determ) of a window of frames."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, heads = config.block_out_channels, config.num_attention_heads
        emb_channels, levels = 4 * widths[0], len(widths)
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = EmbeddingMLP(widths[0], emb_channels)
        self.add_embedding = EmbeddingMLP(config.projection_class_embeddings_input_dim, emb_channels)
        skips = [widths[0]]
        self.down_blocks = nn.ModuleList()
        for i, width in enumerate(widths):
            last = i == levels - 1
            self.down_blocks.append(DownLevel(widths[max(i - 1, 0)], width, 0 if last else heads[i], last, config))
            skips += [width] * (config.layers_per_block + (not last))
        self.up_blocks = nn.ModuleList()
        below = widths[-1]
        for i in reversed(range(levels)):
            taken = [skips.pop() for _ in range(config.layers_per_block + 1)]
            with_heads = 0 if i == levels - 1 else heads[i]
            self.up_blocks.append(UpLevel(below, widths[i], taken, with_heads, i == 0, config))
            below = widths[i]
        self.mid_block = MiddleLevel(config)
        self.conv_norm_out = group_norm(widths[0], 1e-5)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def forward(self, sample: Tensor, timestep: float, context: Tensor, added_ids: Tensor) -> Tensor:
        """One prediction.

        sample (B, T, C, h, w) · timestep, ln(sigma) / 4 · context (B, T, D): an image embedding per frame ·
        added_ids (B, 3) float32: frame rate, motion bucket, noise strength. Returns (B, T, 4, h, w).
        """
        num_frames = sample.shape[1]
        emb = F.silu(self.embed(timestep, added_ids))
        x = self.conv_in(sample.flatten(0, 1))
        skips = [x]
        for down in self.down_blocks:
            x, taken = down(x, num_frames, emb, context)
            skips += taken
        x = self.mid_block(x, num_frames, emb, context)
        for up in self.up_blocks:
            x = up(x, skips, num_frames, emb, context)
        x = self.conv_out(F.silu(self.conv_norm_out(x), inplace=True))
        return x.unflatten(0, (-1, num_frames))

    def embed(self, timestep: float, added_ids: Tensor) -> Tensor:
        """Embedding (B, E) of the time step and the added ids (B, 3)."""
        dtype = self.conv_in.weight.dtype
        time = torch.full((len(added_ids),), timestep, dtype=torch.float32, device=added_ids.device)
        time_emb = self.time_embedding(sinusoidal(time, self.config.block_out_channels[0]).to(dtype))
        ids = sinusoidal(added_ids.flatten(), self.config.addition_time_embed_dim)
        return time_emb + self.add_embedding(ids.reshape(len(added_ids), -1).to(dtype))
