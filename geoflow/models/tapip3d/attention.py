"""Attention blocks: pre-normalised, with a tanh GELU in their MLP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROWS = {"cpu": 1 << 12}  # that go through an MLP at once
_ROWS_ELSEWHERE = 1 << 16
_PLAIN_EPS = 1e-6  # of norms without parameters; those with parameters have torch's 1e-5


class Attention(nn.Module):
    """Multi-head attention of x (..., L, C) to a context (..., M, C), or to itself."""

    def __init__(self, dim: int, heads: int, head_dim: int, bias: bool = True) -> None:
        super().__init__()
        self.heads, inner = heads, heads * head_dim
        self.to_q = nn.Linear(dim, inner, bias=bias)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=bias)
        self.to_out = nn.Linear(inner, dim)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        k, v = self.to_kv(x if context is None else context).chunk(2, dim=-1)
        q, k, v = (rows.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for rows in (self.to_q(x), k, v))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2))

    def keys_by_head(self) -> Tensor:
        """Return the weights (h, d, C) that make keys of a context."""
        return self.to_kv.weight.chunk(2)[0].unflatten(0, (self.heads, -1))

    def values_by_head(self) -> Tensor:
        """Return the weights (h, d, C) that make values of a context."""
        return self.to_kv.weight.chunk(2)[1].unflatten(0, (self.heads, -1))

    def out_by_head(self) -> Tensor:
        """Return the weights (C, h, d) that make the result of the heads' answers."""
        return self.to_out.weight.unflatten(1, (self.heads, -1))


class Pooling(Attention):
    """One learned token attends to x (..., M, C), with nothing else in its own place.

    Its query does not depend on x. So the key projection is folded into it, and the value projection, being linear,
    follows the average: M tokens are projected by neither.
    """

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__(dim, heads, head_dim, bias=False)

    def forward(self, token: Tensor, context: Tensor | None = None) -> Tensor:
        """token (1, C), context (..., M, C) to (..., C)."""
        assert context is not None
        q = self.to_q(token).unflatten(-1, (self.heads, -1))[0]  # (h, d)
        folded = torch.einsum("hd,hdc->hc", q, self.keys_by_head()) * q.shape[-1] ** -0.5
        weights = torch.softmax(context @ folded.mT, dim=-2)  # (..., M, h)
        means = weights.mT @ context  # (..., h, C)
        return self.to_out(torch.einsum("...hc,hdc->...hd", means, self.values_by_head()).flatten(-2))


class MLP(nn.Module):
    """Two linear layers with a tanh GELU between; of many rows, some at a time, since what is between is wide."""

    def __init__(self, dim: int, ratio: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, int(dim * ratio))
        self.fc2 = nn.Linear(int(dim * ratio), dim)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2).split(_ROWS.get(x.device.type, _ROWS_ELSEWHERE))
        found = [self.fc2(F.gelu(self.fc1(part), approximate="tanh")) for part in rows]
        return found[0].view(x.shape) if len(found) == 1 else torch.cat(found).view(x.shape)


class Block(nn.Module):
    """What both kinds of block share: an MLP after a plain norm, added to its input."""

    def __init__(self, dim: int, ratio: float) -> None:
        super().__init__()
        self.mlp = MLP(dim, ratio)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Return x with what attention and then the MLP add."""
        x = x + attended
        return x + self.mlp(plain_norm(x))


class SelfBlock(Block):
    """Every token of (..., L, C) attends to all L."""

    def __init__(self, dim: int, heads: int, head_dim: int, ratio: float) -> None:
        super().__init__(dim, ratio)
        self.attn = Attention(dim, heads, head_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(x, self.attn(plain_norm(x)))


class CrossBlock(Block):
    """Every token of x (..., L, C) attends to a context (..., M, C).

    If one of both stays the same over many calls, whatever the projections make of it can be made once, and the other
    side's projections be folded into it: `fold_tokens` and `attend_from`, `fold_context` and `attend_to`. The result is
    the same up to rounding.
    """

    def __init__(self, dim: int, heads: int, head_dim: int, ratio: float) -> None:
        super().__init__(dim, ratio)
        self.norm_context = nn.LayerNorm(dim)
        self.cross_attn = Attention(dim, heads, head_dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.finish(x, self.cross_attn(plain_norm(x), self.norm_context(context)))

    def fold_tokens(self, x: Tensor) -> Tensor:
        """Return (N, h, L, C) of tokens (N, L, C): queries on which the key projection has been applied backwards.

        The bias of the keys adds the same to all scores of a query, so it drops out.
        """
        attention = self.cross_attn
        q = attention.to_q(plain_norm(x)).unflatten(-1, (attention.heads, -1))  # (N, L, h, d)
        return torch.einsum("nlhd,hdc->nhlc", q, attention.keys_by_head()) * q.shape[-1] ** -0.5

    def attend_from(self, x: Tensor, folded: Tensor, context: Tensor) -> Tensor:
        """Let tokens (N, L, C), folded (N, h, L, C), see contexts (T, N, M, C): (T, N, L, C).

        Values are averaged before they are projected.
        """
        attention = self.cross_attn
        context = self.norm_context(context)[:, :, None]  # (T, N, 1, M, C)
        weights = torch.softmax(folded @ context.mT, dim=-1)  # (T, N, h, L, M)
        means = (weights @ context).transpose(2, 3).flatten(3)  # (T, N, L, h * C)
        merged = torch.einsum("ohd,hdc->ohc", attention.out_by_head(), attention.values_by_head()).flatten(1)
        bias = attention.to_out(attention.to_kv.bias.chunk(2)[1])
        return self.finish(x, F.linear(means, merged, bias))

    def fold_context(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return keys (N, h, M, C), their bias (N, h, 1, M) and values (N, h, M, C) of contexts (N, M, C).

        The query projection is folded into the keys, the output projection into the values.
        """
        attention = self.cross_attn
        keys, values = attention.to_kv(self.norm_context(context)).chunk(2, dim=-1)
        keys, values = (rows.unflatten(-1, (attention.heads, -1)) for rows in (keys, values))  # (N, M, h, d)
        keys = keys * keys.shape[-1] ** -0.5
        queries = attention.to_q.weight.unflatten(0, (attention.heads, -1))  # (h, d, C)
        bias = torch.einsum("nmhd,hd->nhm", keys, attention.to_q.bias.unflatten(0, (attention.heads, -1)))
        return (
            torch.einsum("nmhd,hdc->nhmc", keys, queries),
            bias[:, :, None],
            torch.einsum("nmhd,ohd->nhmo", values, attention.out_by_head()),
        )

    def attend_to(self, x: Tensor, folded: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Let tokens (T, N, L, C) see what `fold_context` made of contexts: (T, N, L, C)."""
        keys, bias, values = folded
        weights = torch.softmax(plain_norm(x)[:, :, None] @ keys.mT + bias, dim=-1)  # (T, N, h, L, M)
        return self.finish(x, (weights @ values).sum(2) + self.cross_attn.to_out.bias)


def plain_norm(x: Tensor) -> Tensor:
    """Layer norm without parameters."""
    return F.layer_norm(x, x.shape[-1:], eps=_PLAIN_EPS)
