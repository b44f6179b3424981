"""Layers of the diffusion networks in Jittor, with the parameter names of the published weights.

Norms take two passes over their input, the mean first: Jittor's own subtract squared sums in float32, which loses the
result where a map's mean is large beside its spread. Jittor computes when a value is asked for; `by_frames` asks for
each part, so that only temporaries of a few frames exist at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from geoflow.models.diffusion.config import NORM_GROUPS
from geoflow.models.geometrycrafter_jittor.framework import Var, jt, nn

# Values of a feature map that one call of a frame-wise layer gets, and scores that attention holds at once.
_VALUES_AT_ONCE = 1 << 24
_SCORES_AT_ONCE = 1 << 26


def by_frames(layer: Callable[..., Var], x: Var, *rows: Var | None) -> Var:
    """Apply a layer that sees every frame of x (N, ...) alone to a few frames at a time; `rows` go along with x."""
    step = max(1, _VALUES_AT_ONCE // max(1, math.prod(x.shape[1:])))
    if step >= len(x):
        return layer(x, *rows)
    parts = []
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        done = layer(x[part], *(None if row is None else row[part] for row in rows))
        done.sync()
        parts.append(done)
    return jt.concat(parts, dim=0)


def mean_over(x: Var, axes: range) -> Var:
    """The mean over the last axes, which stay with length 1; one axis at a time.

    Jittor adds values one after another, so a sum over a whole map would lose digits that sums of sums keep.
    """
    for axis in reversed(axes):
        x = x.mean(axis, keepdims=True)
    return x


def normalised(x: Var, axes: range, eps: float) -> Var:
    """x with mean 0 and deviation 1 over its last axes."""
    centred = x - mean_over(x, axes)
    return centred * jt.rsqrt(mean_over(centred * centred, axes) + eps)


class GroupNorm(nn.Module):
    """A norm of (N, C, ...) over the channels of a group and all that follows them."""

    def __init__(self, channels: int, eps: float, groups: int = NORM_GROUPS) -> None:
        self.weight = jt.ones((channels,))
        self.bias = jt.zeros((channels,))
        self.eps, self.groups = eps, groups

    def execute(self, x: Var) -> Var:
        wide = (1, -1, *[1] * (x.ndim - 2))
        grouped = x.reshape(len(x), self.groups, x.shape[1] // self.groups, *x.shape[2:])
        normed = normalised(grouped, range(2, grouped.ndim), self.eps).reshape(x.shape)
        return normed * self.weight.reshape(wide) + self.bias.reshape(wide)


class LayerNorm(nn.Module):
    """A norm of (..., C) over the channels."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        self.weight = jt.ones((channels,))
        self.bias = jt.zeros((channels,))
        self.eps = eps

    def execute(self, x: Var) -> Var:
        return normalised(x, range(x.ndim - 1, x.ndim), self.eps) * self.weight + self.bias


def attend(q: Var, k: Var, v: Var, heads: int) -> Var:
    """Multi-head attention of projected tokens, (N, L, C) each, to (N, L, C), with bounded scores."""
    count, length, channels = q.shape
    q, k, v = (
        rows.reshape(count, length, heads, -1).permute(0, 2, 1, 3).reshape(count * heads, length, -1)
        for rows in (q, k, v)
    )
    q, k = q * (channels // heads) ** -0.5, k.permute(0, 2, 1)
    rows_at_once = max(1, min(count * heads, _SCORES_AT_ONCE // (length * length)))
    queries_at_once = max(1, min(length, _SCORES_AT_ONCE // (rows_at_once * length)))
    parts = []
    for r in _slices(count * heads, rows_at_once):
        mixed = [_mix(q[r, i], k[r], v[r]) for i in _slices(length, queries_at_once)]
        parts.append(mixed[0] if len(mixed) == 1 else jt.concat(mixed, dim=1))
    joined = parts[0] if len(parts) == 1 else jt.concat(parts, dim=0)
    return joined.reshape(count, heads, length, -1).permute(0, 2, 1, 3).reshape(count, length, channels)


def _slices(count: int, step: int) -> list[slice]:
    return [slice(start, start + step) for start in range(0, count, step)]


def _mix(q: Var, k: Var, v: Var) -> Var:
    mixed = nn.bmm(nn.softmax(nn.bmm(q, k), dim=-1), v)
    mixed.sync()  # the scores can go
    return mixed


class Attention(nn.Module):
    """Parameters of one multi-head attention; `bias` is the bias of the three input projections."""

    def __init__(self, channels: int, heads: int, context_channels: int | None = None, bias: bool = False) -> None:
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=bias)
        self.to_k = nn.Linear(context_channels or channels, channels, bias=bias)
        self.to_v = nn.Linear(context_channels or channels, channels, bias=bias)
        self.to_out = nn.Sequential(nn.Linear(channels, channels))


class SelfAttention(Attention):
    """Every token of (N, L, C) attends to all L."""

    def execute(self, x: Var) -> Var:
        return self.to_out(attend(self.to_q(x), self.to_k(x), self.to_v(x), self.heads))


class GEGLU(nn.Module):
    """A linear layer in which one half of the output, through the exact GELU, gates the other half."""

    def __init__(self, channels: int, inner: int) -> None:
        self.proj = nn.Linear(channels, 2 * inner)
        self._inner = inner

    def execute(self, x: Var) -> Var:
        both = self.proj(x)
        return nn.gelu(both[..., self._inner :]) * both[..., : self._inner]


class FeedForward(nn.Module):
    """GEGLU to four times the width, and back."""

    def __init__(self, channels: int) -> None:
        self.net = nn.Sequential(GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels))

    def execute(self, x: Var) -> Var:
        return self.net(x)


def sinusoidal(values: Var, channels: int) -> Var:
    """Values (N,) to (N, channels): cosines first, then sines, periods from 2π to 20000π."""
    half = channels // 2
    exponent = jt.arange(half).float32() / half
    angle = values.float32().unsqueeze(1) * jt.exp(-math.log(10000.0) * exponent).unsqueeze(0)
    return jt.concat([angle.cos(), angle.sin()], dim=1)


class EmbeddingMLP(nn.Module):
    """Linear, SiLU, linear."""

    def __init__(self, in_channels: int, inner: int, out_channels: int | None = None) -> None:
        self.linear_1 = nn.Linear(in_channels, inner)
        self.linear_2 = nn.Linear(inner, out_channels or inner)

    def execute(self, x: Var) -> Var:
        return self.linear_2(nn.silu(self.linear_1(x)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions after norm and SiLU, with the embedding of the time step added between them."""

    def __init__(
        self, in_channels: int, out_channels: int, eps: float, emb_channels: int = 0, groups: int = NORM_GROUPS
    ) -> None:
        self.norm1 = GroupNorm(in_channels, eps, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(emb_channels, out_channels) if emb_channels else None
        self.norm2 = GroupNorm(out_channels, eps, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def execute(self, x: Var, emb: Var | None = None) -> Var:
        """x (N, C, h, w); emb (N, E), already through SiLU."""
        h = self.conv1(nn.silu(self.norm1(x)))
        if self.time_emb_proj is not None:
            h = h + self.time_emb_proj(emb).unsqueeze(2).unsqueeze(3)
        h = self.conv2(nn.silu(self.norm2(h)))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Upsample(nn.Module):
    """Nearest neighbours to twice the size, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def execute(self, x: Var) -> Var:
        return by_frames(lambda part: self.conv(nn.interpolate(part, scale_factor=2, mode="nearest")), x)


class Downsample(nn.Module):
    """A 3x3 convolution with stride 2, padded all round (UNet) or at the bottom and right only (autoencoders)."""

    def __init__(self, channels: int, pad_all_round: bool) -> None:
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1 if pad_all_round else 0)
        self._pad_all_round = pad_all_round

    def execute(self, x: Var) -> Var:
        return self.conv(x if self._pad_all_round else nn.pad(x, [0, 1, 0, 1]))


def modules(made: Any) -> Any:
    """Return a list of modules as Jittor has them, which takes no generator."""
    return nn.ModuleList(list(made))
