"""Attention of the UNet: transformers over the pixels of a frame and over the frames of a pixel, blended.

Cross attention has exactly one key everywhere. So its softmax is 1, and it reduces to out(value(e)), a constant that is
added to all tokens. Its query, key and norm are part of the published weights but do not affect the result.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geoflow.models.diffusion.attention import Attention, FeedForward, SelfAttention
from geoflow.models.diffusion.embedding import EmbeddingMLP, sinusoidal
from geoflow.models.diffusion.frame_batches import by_frames, frames_per_call
from geoflow.models.diffusion.norm import group_norm
from geoflow.models.geometrycrafter.residual import Blend


class SingleKeyAttention(Attention):
    """Cross attention to one key: maps context (N, D) to the term (N, 1, C) that is added to every token of row n."""

    def forward(self, context: Tensor) -> Tensor:
        return self.to_out(self.to_v(context))[:, None]


class SpatialTransformerBlock(nn.Module):
    """Self attention over a frame's pixels, cross attention to the frame's image embedding, feed-forward."""

    def __init__(self, channels: int, heads: int, context_channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = SelfAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = SingleKeyAttention(channels, heads, context_channels)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (N, L, C) and context (N, D) or (1, D), an embedding for each row or for all; row by row."""
        x = x + self.attn1(self.norm1(x))
        x += self.attn2(context)
        return x.add_(self.ff(self.norm3(x)))


class TemporalTransformerBlock(SpatialTransformerBlock):
    """The same over a pixel's frames, x (P, T, C), after one more feed-forward; `context` is the first frame's."""

    def __init__(self, channels: int, heads: int, context_channels: int) -> None:
        super().__init__(channels, heads, context_channels)
        self.norm_in = nn.LayerNorm(channels)
        self.ff_in = FeedForward(channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return super().forward(x + self.ff_in(self.norm_in(x)), context)


class SpatioTemporalTransformer(nn.Module):
    """Pairs of a spatial and a temporal transformer block, blended, between two projections; with a residual."""

    def __init__(self, channels: int, heads: int, context_channels: int, depth: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, 1e-6)
        self.proj_in = nn.Linear(channels, channels)
        blocks = [SpatialTransformerBlock(channels, heads, context_channels) for _ in range(depth)]
        over_time = [TemporalTransformerBlock(channels, heads, context_channels) for _ in range(depth)]
        self.transformer_blocks = nn.ModuleList(blocks)
        self.temporal_transformer_blocks = nn.ModuleList(over_time)
        self.time_pos_embed = EmbeddingMLP(channels, 4 * channels, channels)
        self.time_mixer = Blend()
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, num_frames: int, context: Tensor) -> Tensor:
        """x (B * T, C, h, w), context (B, T, D): image embeddings; the same shape as x comes back."""
        rows = context.flatten(0, 1)
        tokens = by_frames(self._tokens, x)
        index = torch.arange(num_frames, device=x.device, dtype=torch.float32)
        position = self.time_pos_embed(sinusoidal(index, x.shape[1]).to(x.dtype))  # (T, C)
        for spatial, temporal in zip(self.transformer_blocks, self.temporal_transformer_blocks):
            tokens = by_frames(spatial, tokens, rows)
            for video, first in zip(tokens.unflatten(0, (-1, num_frames)), context[:, :1]):
                self._blend_in_time(temporal, video, position, first)
        return by_frames(self._maps, tokens, x)

    def _tokens(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, h * w, C)."""
        return self.proj_in(self.norm(x).permute(0, 2, 3, 1).flatten(1, 2))

    def _maps(self, tokens: Tensor, x: Tensor) -> Tensor:
        """(N, h * w, C) to (N, C, h, w), with the residual x."""
        return x + self.proj_out(tokens).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)

    def _blend_in_time(self, temporal: nn.Module, video: Tensor, position: Tensor, first: Tensor) -> None:
        """Blend the temporal branch into the tokens (T, P, C) of one video, in place, some pixels at a time.

        Every pixel is seen with its own other frames only, so the parts are independent.
        """
        share = self.time_mixer.share_of_time()
        step = frames_per_call(video.transpose(0, 1))
        for start in range(0, video.shape[1], step):
            spatial = video[:, start : start + step].transpose(0, 1)  # (P', T, C), a view
            spatial.lerp_(temporal(spatial + position, first), share)
