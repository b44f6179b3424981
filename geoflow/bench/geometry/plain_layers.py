"""The layers of GeometryCrafter in the simplest form: same weights, same results, no shortcuts.

Everything is done for all frames at once. Cross attention is an attention over its one key; convolutions over time are
three-dimensional; blends are sums of two branches. Attention is PyTorch's fused one here, too.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.diffusion.attention import GEGLU, Attention, attend
from geoflow.models.diffusion.embedding import sinusoidal
from geoflow.models.diffusion.norm import GroupNorm
from geoflow.models.diffusion.residual import ResidualBlock, Upsample
from geoflow.models.geometrycrafter import attention, point_map_vae, residual


def without_shortcuts(network: nn.Module) -> nn.Module:
    """Return the same network; from now on its layers compute in the plain way."""
    for module in network.modules():
        if (plain := _PLAIN.get(type(module))) is not None:
            module.forward = MethodType(plain, module)
    return network


def _attention(layer: Attention, x: Tensor, context: Tensor) -> Tensor:
    q, k, v = layer.to_q(x), layer.to_k(context), layer.to_v(context)
    found: Tensor = layer.to_out(attend(q, k, v, layer.heads))
    return found


def _geglu(self: GEGLU, x: Tensor) -> Tensor:
    value, gate = self.proj(x).chunk(2, dim=-1)
    return value * F.gelu(gate)


def _spatial(self: attention.SpatialTransformerBlock, x: Tensor, context: Tensor) -> Tensor:
    x = x + self.attn1(self.norm1(x))
    x = x + _attention(self.attn2, self.norm2(x), context[:, None])
    return x + self.ff(self.norm3(x))


def _temporal(self: attention.TemporalTransformerBlock, x: Tensor, context: Tensor) -> Tensor:
    x = x + self.ff_in(self.norm_in(x))
    x = x + self.attn1(self.norm1(x))
    x = x + _attention(self.attn2, self.norm2(x), context.expand(len(x), -1)[:, None])
    return x + self.ff(self.norm3(x))


def _transformer(self: attention.SpatioTemporalTransformer, x: Tensor, num_frames: int, context: Tensor) -> Tensor:
    index = torch.arange(num_frames, device=x.device, dtype=torch.float32)
    position = self.time_pos_embed(sinusoidal(index, x.shape[1]).to(x.dtype))
    tokens = self.proj_in(self.norm(x).permute(0, 2, 3, 1).flatten(1, 2))
    share = self.time_mixer.share_of_time()
    for spatial, temporal in zip(self.transformer_blocks, self.temporal_transformer_blocks):
        tokens = spatial(tokens, context.flatten(0, 1))
        by_video = tokens.unflatten(0, (-1, num_frames)) + position[:, None]
        mixed = [
            temporal(video.transpose(0, 1).contiguous(), first).transpose(0, 1)
            for video, first in zip(by_video, context[:, :1])
        ]
        tokens = (1 - share) * tokens + share * torch.cat(mixed)
    return x + self.proj_out(tokens).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


def _residual(self: ResidualBlock, x: Tensor, emb: Tensor | None = None) -> Tensor:
    h = self.conv1(F.silu(self.norm1(x)))
    if self.time_emb_proj is not None:
        h = h + self.time_emb_proj(emb)[:, :, None, None]
    h = self.conv2(F.silu(self.norm2(h)))
    return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


def _spatio_temporal(
    self: residual.SpatioTemporalBlock,
    x: Tensor,
    num_frames: int,
    emb: Tensor | None = None,
    skip: Tensor | None = None,
) -> Tensor:
    if skip is not None:
        x = torch.cat([x, skip], dim=1)
    x = self.spatial_res_block(x, None if emb is None else emb.repeat_interleave(num_frames, 0))
    video = x.unflatten(0, (-1, num_frames)).transpose(1, 2).contiguous()  # (B, C, T, h, w)
    over_time, h = self.temporal_res_block, video
    for norm, conv in ((over_time.norm1, over_time.conv1), (over_time.norm2, over_time.conv2)):
        h = nn.Conv3d.forward(conv, F.silu(norm(h)))
        if over_time.time_emb_proj is not None and conv is over_time.conv1:
            h = h + over_time.time_emb_proj(emb)[:, :, None, None, None]
    share = self.time_mixer.share_of_time()
    return ((1 - share) * video + share * (video + h)).transpose(1, 2).flatten(0, 1)


def _upsample(self: Upsample, x: Tensor) -> Tensor:
    found: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    return found


def _head(self: point_map_vae.Head, x: Tensor, num_frames: int) -> Tensor:
    norm, _, conv, block, _, last = self
    found: Tensor = last(F.relu(block(conv(F.relu(norm(x))), num_frames)))
    return found


_PLAIN: dict[type[Any], Callable[..., Tensor]] = {
    GroupNorm: nn.GroupNorm.forward,
    GEGLU: _geglu,
    attention.SpatialTransformerBlock: _spatial,
    attention.TemporalTransformerBlock: _temporal,
    attention.SpatioTemporalTransformer: _transformer,
    ResidualBlock: _residual,
    residual.SpatioTemporalBlock: _spatio_temporal,
    Upsample: _upsample,
    point_map_vae.Head: _head,
}
