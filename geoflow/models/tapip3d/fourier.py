"""Encodings of positions and of time, as numbers that a network can tell apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_DEGREES = range(-2, 14)  # sinusoids of x * 2^d
WIDTH = 1 + 2 * len(_DEGREES)  # numbers for each channel


def encode_positions(x: Tensor) -> Tensor:
    """Return (..., c * 33) of (..., c): x, the sines of x * 2^d for d = -2..13, then the same a quarter turn on.

    The sines of all channels stand together for each d.
    """
    scales = torch.tensor([2.0**degree for degree in _DEGREES], dtype=x.dtype, device=x.device)
    angles = (x[..., None, :] * scales[:, None]).flatten(-2)
    return torch.cat((x, torch.sin(angles), torch.sin(angles + 0.5 * math.pi)), dim=-1)


def time_table(width: int, length: int) -> Tensor:
    """Return (1, length, width) float32: sines, then cosines of t / 10000^(i / half), and zeros if width is odd."""
    half = width // 2
    rates = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    table = torch.zeros(1, length, width, dtype=torch.float64)
    table[0, :, :half], table[0, :, half : 2 * half] = angles.sin(), angles.cos()
    return table.float()
