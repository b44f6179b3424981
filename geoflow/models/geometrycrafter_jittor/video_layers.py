"""Residual blocks and transformers over space and over time, and their blend, in Jittor.

Feature maps are (N, C, h, w) with N = B * T frames, the frames of a video one after another; `num_frames` is T.
"""

from __future__ import annotations

from geoflow.models.geometrycrafter_jittor.framework import Var, jt, nn
from geoflow.models.geometrycrafter_jittor.layers import (
    Attention,
    EmbeddingMLP,
    FeedForward,
    GroupNorm,
    LayerNorm,
    ResidualBlock,
    SelfAttention,
    by_frames,
    modules,
    sinusoidal,
)


class TemporalConv(nn.Module):
    """A 3x1x1 convolution over time, padded with zeros, on (B, C, T, P) with the pixels in one axis."""

    def __init__(self, channels: int) -> None:
        whole = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))
        self.weight, self.bias = whole.weight, whole.bias

    def execute(self, x: Var) -> Var:
        return nn.conv2d(x, self.weight.reshape(self.weight.shape[:4]), self.bias, padding=(1, 0))


class TemporalResidualBlock(nn.Module):
    """Two convolutions over time after norm and SiLU; the norm's statistics are over all frames at once."""

    def __init__(self, channels: int, eps: float, emb_channels: int = 0) -> None:
        self.norm1 = GroupNorm(channels, eps)
        self.conv1 = TemporalConv(channels)
        self.time_emb_proj = nn.Linear(emb_channels, channels) if emb_channels else None
        self.norm2 = GroupNorm(channels, eps)
        self.conv2 = TemporalConv(channels)

    def change(self, x: Var, emb: Var | None) -> Var:
        """Return the term that the block adds to its input x (B, C, T, P); emb (B, E), after SiLU."""
        h = self.conv1(nn.silu(self.norm1(x)))
        if self.time_emb_proj is not None:
            h = h + self.time_emb_proj(emb).unsqueeze(2).unsqueeze(3)
        return self.conv2(nn.silu(self.norm2(h)))


class Blend(nn.Module):
    """The learnt share of the spatial branch, sigmoid(mix_factor); of the temporal one where `temporal_share`."""

    def __init__(self, temporal_share: bool = False) -> None:
        self.mix_factor = jt.zeros((1,))
        self._sign = 1.0 if temporal_share else -1.0

    def share_of_time(self) -> Var:
        """(1,): weight of the temporal branch."""
        return jt.sigmoid(self._sign * self.mix_factor)


class SpatioTemporalBlock(nn.Module):
    """A spatial residual block, a temporal one on its output, and a blend between the two."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        eps: float,
        temporal_eps: float | None = None,
        emb_channels: int = 0,
        temporal_share: bool = False,
    ) -> None:
        self.spatial_res_block = ResidualBlock(in_channels, out_channels, eps, emb_channels)
        temporal_eps = eps if temporal_eps is None else temporal_eps
        self.temporal_res_block = TemporalResidualBlock(out_channels, temporal_eps, emb_channels)
        self.time_mixer = Blend(temporal_share)

    def execute(self, x: Var, num_frames: int, emb: Var | None = None, skip: Var | None = None) -> Var:
        """x (B * T, C, h, w) to (B * T, C', h, w); emb (B, E), already through SiLU; skip: more channels of x."""
        x = by_frames(self._spatial, x, skip, None if emb is None else _for_each_frame(emb, num_frames))
        count, channels, height, width = x.shape
        # s + share * (t - s) with t = s + change: the blend needs only the change.
        video = x.reshape(count // num_frames, num_frames, channels, height * width).permute(0, 2, 1, 3)
        change = self.temporal_res_block.change(video, emb).permute(0, 2, 1, 3).reshape(x.shape)
        return x + change * self.time_mixer.share_of_time()

    def _spatial(self, x: Var, skip: Var | None, emb: Var | None) -> Var:
        return self.spatial_res_block(x if skip is None else jt.concat([x, skip], dim=1), emb)


class SingleKeyAttention(Attention):
    """Cross attention to one key: maps context (N, D) to the term (N, 1, C) that is added to every token of row n.

    The softmax over one key is 1. Its query and key are part of the published weights but do not affect the result.
    """

    def execute(self, context: Var) -> Var:
        return self.to_out(self.to_v(context)).unsqueeze(1)


class SpatialTransformerBlock(nn.Module):
    """Self attention over a frame's pixels, cross attention to the frame's image embedding, feed-forward."""

    def __init__(self, channels: int, heads: int, context_channels: int) -> None:
        self.norm1 = LayerNorm(channels)
        self.attn1 = SelfAttention(channels, heads)
        self.norm2 = LayerNorm(channels)
        self.attn2 = SingleKeyAttention(channels, heads, context_channels)
        self.norm3 = LayerNorm(channels)
        self.ff = FeedForward(channels)

    def execute(self, x: Var, context: Var) -> Var:
        """x (N, L, C) and context (N, D) or (1, D), an embedding for each row or for all; row by row."""
        x = x + self.attn1(self.norm1(x)) + self.attn2(context)
        return x + self.ff(self.norm3(x))


class TemporalTransformerBlock(SpatialTransformerBlock):
    """The same over a pixel's frames, x (P, T, C), after one more feed-forward; `context` is the first frame's."""

    def __init__(self, channels: int, heads: int, context_channels: int) -> None:
        super().__init__(channels, heads, context_channels)
        self.norm_in = LayerNorm(channels)
        self.ff_in = FeedForward(channels)

    def execute(self, x: Var, context: Var) -> Var:
        return super().execute(x + self.ff_in(self.norm_in(x)), context)


class SpatioTemporalTransformer(nn.Module):
    """Pairs of a spatial and a temporal transformer block, blended, between two projections; with a residual."""

    def __init__(self, channels: int, heads: int, context_channels: int, depth: int) -> None:
        self.norm = GroupNorm(channels, 1e-6)
        self.proj_in = nn.Linear(channels, channels)
        sizes = (channels, heads, context_channels)
        self.transformer_blocks = modules(SpatialTransformerBlock(*sizes) for _ in range(depth))
        self.temporal_transformer_blocks = modules(TemporalTransformerBlock(*sizes) for _ in range(depth))
        self.time_pos_embed = EmbeddingMLP(channels, 4 * channels, channels)
        self.time_mixer = Blend()
        self.proj_out = nn.Linear(channels, channels)

    def execute(self, x: Var, num_frames: int, context: Var) -> Var:
        """x (B * T, C, h, w), context (B, T, D): image embeddings; the same shape as x comes back."""
        count, channels, height, width = x.shape
        rows = context.reshape(count, -1)
        tokens = by_frames(self._tokens, x)
        position = self.time_pos_embed(sinusoidal(jt.arange(num_frames), channels))  # (T, C)
        for spatial, temporal in zip(self.transformer_blocks, self.temporal_transformer_blocks):
            tokens = by_frames(spatial, tokens, rows)
            videos = tokens.reshape(-1, num_frames, height * width, channels)
            blended = [self._blend_in_time(temporal, videos[i], position, context[i, :1]) for i in range(len(videos))]
            tokens = (blended[0] if len(blended) == 1 else jt.concat(blended, dim=0)).reshape(tokens.shape)
        return by_frames(self._maps, tokens, x)

    def _tokens(self, x: Var) -> Var:
        """(N, C, h, w) to (N, h * w, C)."""
        return self.proj_in(self.norm(x).permute(0, 2, 3, 1).reshape(len(x), -1, x.shape[1]))

    def _maps(self, tokens: Var, x: Var) -> Var:
        """(N, h * w, C) to (N, C, h, w), with the residual x."""
        count, channels, height, width = x.shape
        return x + self.proj_out(tokens).reshape(count, height, width, channels).permute(0, 3, 1, 2)

    def _blend_in_time(self, temporal: nn.Module, video: Var, position: Var, first: Var) -> Var:
        """Blend the temporal branch into the tokens (T, P, C) of one video, some pixels at a time."""
        share = self.time_mixer.share_of_time()

        def blended(pixels: Var) -> Var:  # (P', T, C): every pixel sees its own other frames only
            return pixels + share * (temporal(pixels + position, first) - pixels)

        return by_frames(blended, video.permute(1, 0, 2)).permute(1, 0, 2)


def _for_each_frame(emb: Var, num_frames: int) -> Var:
    """(B, E) to (B * T, E)."""
    count, channels = emb.shape
    return emb.unsqueeze(1).broadcast((count, num_frames, channels)).reshape(-1, channels)
