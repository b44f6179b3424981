"""Sinusoidal embeddings (Vaswani et al. 2017, section 3.5) and the small networks behind them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoidal(values: Tensor, channels: int) -> Tensor:
    """Values (N,) float32 to (N, channels) float32: cosines first, then sines, periods from 2π to 20000π.

    >>> sinusoidal(torch.zeros(2), 4)[0]
    tensor([1., 1., 0., 0.])
    """
    half = channels // 2
    exponent = torch.arange(half, device=values.device, dtype=torch.float32) / half
    angle = values.float()[:, None] * torch.exp(-math.log(10000.0) * exponent)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class EmbeddingMLP(nn.Module):
    """Linear, SiLU, linear."""

    def __init__(self, in_channels: int, inner: int, out_channels: int | None = None) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_channels, inner)
        self.linear_2 = nn.Linear(inner, out_channels or inner)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))
