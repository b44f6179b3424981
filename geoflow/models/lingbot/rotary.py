"""Rotary position embeddings (Su et al. 2021, arXiv:2104.09864): of patches in a picture, and of tokens in a video.

A table is a pair of cosines and sines, (L, d / 2) float32 each, for L tokens and heads of d dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geoflow.models.lingbot.config import SPECIAL

_BASE_2D = 100.0
_BASE_3D = 10_000.0
_TIME, _SIDE = 20, 22  # dimensions of a head that stand for the time, and for each of y and x

Table = tuple[Tensor, Tensor]


def picture_positions(rows: int, columns: int) -> Tensor:
    """Return (6 + rows * columns, 2) int64: y and x of a frame's tokens, from 1 on; special tokens are at 0, 0."""
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).view(-1, 2) + 1
    return torch.cat((torch.zeros(SPECIAL, 2, dtype=torch.int64), grid))


def picture_table(positions: Tensor, head_dim: int) -> Table:
    """Return the table of positions (L, 2): the first half of a head stands for y, the second for x."""
    return _angles([(positions[:, axis], head_dim // 2) for axis in (0, 1)], _BASE_2D)


def video_table(frames: Tensor, rows: int, columns: int) -> Table:
    """Return the table of the tokens of frames at times (S,), frame after frame.

    Special token k lies at (k, k), patches begin after the special tokens on both axes.
    """
    special = torch.arange(SPECIAL)
    y, x = picture_positions(rows, columns)[SPECIAL:].unbind(1)
    y, x = (torch.cat((special, axis + SPECIAL - 1)).repeat(len(frames)) for axis in (y, x))
    time = frames.repeat_interleave(len(y) // len(frames))
    return _angles([(time, _TIME), (y, _SIDE), (x, _SIDE)], _BASE_3D)


def _angles(axes: list[tuple[Tensor, int]], base: float) -> Table:
    parts = []
    for position, dims in axes:
        frequency = base ** (-torch.arange(0, dims, 2, dtype=torch.float64) / dims)
        parts.append(position.double()[:, None] * frequency)
    angles = torch.cat(parts, dim=1)
    return angles.cos().float(), angles.sin().float()


def rotate_halves(x: Tensor, table: Table) -> Tensor:
    """Turn x (..., L, d); in each half of a head, dimension i makes a pair with i + d / 4."""
    pairs = x.unflatten(-1, (2, 2, -1))  # half, member of the pair, pair
    cos, sin = (part.unflatten(-1, (2, -1)) for part in table)
    return _turned(pairs[..., 0, :], pairs[..., 1, :], (cos, sin), -2).flatten(-3)


def rotate_neighbours(x: Tensor, table: Table) -> Tensor:
    """Turn x (..., L, d); dimension 2 i makes a pair with 2 i + 1."""
    pairs = x.unflatten(-1, (-1, 2))
    return _turned(pairs[..., 0], pairs[..., 1], table, -1).flatten(-2)


def _turned(first: Tensor, second: Tensor, table: Table, dim: int) -> Tensor:
    cos, sin = table
    return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=dim)
