"""The k nearest of a frame's points, for many query points."""

from __future__ import annotations

import torch
from torch import Tensor

FARTHEST = 1e5  # nothing beyond is found
_TILE = 1 << 22  # squared distances held at once


def nearest(points: Tensor, queries: Tensor, k: int, tile: int = _TILE) -> tuple[Tensor, Tensor]:
    """Return distances (Q, k), near to far, and indices (Q, k) int64 of the points (P, 3) nearest to queries (Q, 3).

    An empty place, where fewer than k points lie within FARTHEST, has that distance and the index 0. Memory is
    bounded by `tile`, however many queries there are. Which of equally near points comes first is not decided.
    """
    rows = max(1, tile // max(len(points), 1))
    parts = [_tile(points, queries[start : start + rows], k) for start in range(0, len(queries), rows)]
    if not parts:
        return queries.new_zeros(0, k), torch.zeros(0, k, dtype=torch.long, device=queries.device)
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _tile(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    squares = (queries[:, None, 0] - points[:, 0]).square_()
    for axis in (1, 2):
        squares += (queries[:, None, axis] - points[:, axis]).square_()
    found, index = squares.topk(min(k, len(points)), dim=1, largest=False)
    if found.shape[1] < k:
        missing = k - found.shape[1]
        found = torch.nn.functional.pad(found, (0, missing), value=float("inf"))
        index = torch.nn.functional.pad(index, (0, missing))
    empty = ~(found < FARTHEST**2)
    return found.sqrt().masked_fill(empty, FARTHEST), index.masked_fill(empty, 0)
