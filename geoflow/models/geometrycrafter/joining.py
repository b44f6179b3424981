"""Joining of the latents of neighbouring windows, and their regrouping for the decoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def blend_in(before: Tensor, latents: Tensor) -> Tensor:
    """Blend the latents of a window (N, …) with `before` (M, …), the latents of its first frames from earlier windows.

    The new window's weight goes from 0 at the first common frame to 1 at the last. A single common frame stays
    unchanged.
    """
    count = len(before)
    weight = torch.linspace(0, 1, count, device=latents.device).view(-1, 1, 1, 1)
    common = before + (latents[:count] - before) * weight
    return torch.cat([common, latents[count:]])


def regroup(parts: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Yield the same rows in groups of `size`; the last group may be shorter.

    >>> [len(group) for group in regroup([torch.zeros(5), torch.zeros(2)], 3)]
    [3, 3, 1]
    """
    waiting: Tensor | None = None
    for part in parts:
        waiting = part if waiting is None else torch.cat([waiting, part])
        while len(waiting) >= size:
            group, waiting = waiting[:size], waiting[size:]
            yield group
    if waiting is not None and len(waiting):
        yield waiting
