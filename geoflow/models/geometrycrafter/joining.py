"""Joining of the latents of neighbouring windows."""

from __future__ import annotations

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
