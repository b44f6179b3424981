"""What all transformers of the network are made of. Products may be in bfloat16, all else is float32.

A `See` is what a block's queries look at: it takes rotated queries, keys and values (heads, L, d) of the tokens at
hand, and returns the answers (heads, L, d). Without one, a picture's tokens look at each other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

See = Callable[[Tensor, Tensor, Tensor], Tensor]
Turn = Callable[[Tensor], Tensor]


class Product(nn.Linear):
    """A linear layer in the dtype of its weights, whatever the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class MLP(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, dim: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = Product(dim, hidden), Product(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Attention(nn.Module):
    """Multi-head attention; queries and keys may be normed per head and turned by a rotary embedding."""

    def __init__(self, dim: int, heads: int, *, norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = Product(dim, 3 * dim), Product(dim, dim)
        if norm:
            self.q_norm, self.k_norm = nn.LayerNorm(dim // heads), nn.LayerNorm(dim // heads)
        self.norm = norm

    def forward(self, x: Tensor, turn: Turn | None = None, see: See | None = None) -> Tensor:
        """x (..., L, C); `turn` rotates queries and keys (..., heads, L, d)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).movedim(-3, 0).transpose(-2, -3)
        if self.norm:
            q, k = self.q_norm(q.float()), self.k_norm(k.float())
        if turn is not None:
            q, k = turn(q), turn(k)
        found = (see or F.scaled_dot_product_attention)(q.to(v.dtype), k.to(v.dtype), v)
        return self.proj(found.transpose(-2, -3).flatten(-2))


class Block(nn.Module):
    """A pre-normed transformer block with layer scale."""

    def __init__(self, dim: int, heads: int, *, eps: float, norm: bool = False) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(dim, eps), Attention(dim, heads, norm=norm), LayerScale(dim)
        self.norm2, self.mlp, self.ls2 = nn.LayerNorm(dim, eps), MLP(dim, 4 * dim, dim), LayerScale(dim)

    def forward(self, x: Tensor, turn: Turn | None = None, see: See | None = None) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x), turn, see))
        return x + self.ls2(self.mlp(self.norm2(x)))
