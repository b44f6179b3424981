"""Multi-head attention, and the feed-forward layer behind it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> Tensor:
    """Multi-head attention of projected tokens, (N, L, C) each, to (N, L, C); k and v may have another length.

    `causal`: token i sees tokens 0..i.
    """
    q, k, v = (rows.unflatten(-1, (heads, -1)).transpose(1, 2) for rows in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Parameters of one multi-head attention; `bias` is the bias of the three input projections."""

    def __init__(self, channels: int, heads: int, context_channels: int | None = None, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=bias)
        self.to_k = nn.Linear(context_channels or channels, channels, bias=bias)
        self.to_v = nn.Linear(context_channels or channels, channels, bias=bias)
        self.to_out = nn.Sequential(nn.Linear(channels, channels))


class SelfAttention(Attention):
    """Every token of (N, L, C) attends to all L."""

    def forward(self, x: Tensor) -> Tensor:
        return self.to_out(attend(self.to_q(x), self.to_k(x), self.to_v(x), self.heads))


class GEGLU(nn.Module):
    """A linear layer in which one half of the output, through the exact GELU, gates the other half."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return F.gelu(gate).mul_(value)


class FeedForward(nn.Module):
    """GEGLU to four times the width, and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net:
            x = layer(x)
        return x
