"""Layers that see every frame alone, applied to a few frames at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Values of a feature map that one call of a frame-wise layer gets: enough to keep a device busy, and few enough that
# temporaries are small beside a window's maps (on a GPU) or stay in the caches (on a CPU).
_VALUES_PER_CALL = {"cpu": 1 << 20, "cuda": 1 << 28}


def by_frames(layer: Callable[..., Tensor], x: Tensor, *rows: Tensor | None) -> Tensor:
    """Apply a layer that sees every frame alone to a few frames at a time; `rows` have a row for each frame, too.

    The whole output is allocated once, so that only temporaries of a few frames come on top of input and output.
    """
    step = frames_per_call(x)
    if step >= len(x):
        return layer(x, *rows)
    out: Tensor | None = None
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        done = layer(x[part], *(None if row is None else row[part] for row in rows))
        if out is None:
            out = _empty_like(done, len(x))
        out[part] = done
    assert out is not None
    return out


def frames_per_call(x: Tensor) -> int:
    """Return how many frames of (N, ...) a frame-wise layer should get at once."""
    return max(1, _VALUES_PER_CALL.get(x.device.type, 1 << 24) // max(1, x[0].numel()))


def _empty_like(part: Tensor, count: int) -> Tensor:
    """(count, ...) in the memory format of `part`."""
    shape = (count, *part.shape[1:])
    nhwc = part.dim() == 4 and part.is_contiguous(memory_format=torch.channels_last) and not part.is_contiguous()
    memory_format = torch.channels_last if nhwc else torch.contiguous_format
    return torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=memory_format)
