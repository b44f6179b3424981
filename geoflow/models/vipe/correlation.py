"""How alike the features of a source's pixels are to those around where they should lie in the target."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 4
RADIUS = 3
_FAR = 1e6  # pixels, outside of every picture
CHANNELS = LEVELS * (2 * RADIUS + 1) ** 2


def pyramid(sources: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    """Return the volumes of features (E, C, h, w): (E, h * w, h / 2^l, w / 2^l), odd rows dropped.

    A volume holds the products of every source pixel with all of the target's, and averages of these.
    """
    height, width = targets.shape[2:]
    volume = ((sources.flatten(2) / 4).mT @ (targets.flatten(2) / 4)).unflatten(2, (height, width))
    levels = [volume]
    for _ in range(LEVELS - 1):
        last = levels[-1]
        if min(last.shape[2:]) < 2:
            levels.append(last.new_zeros(*last.shape[:2], last.shape[2] // 2, last.shape[3] // 2))
        else:
            levels.append(F.avg_pool2d(last, 2))
    return tuple(levels)


def lookup(levels: tuple[Tensor, ...], coords: Tensor) -> Tensor:
    """Return (E, 196, h, w): volumes at coords (E, 2, h, w) and up to three pixels of each level around them.

    Values between pixels are bilinear, those outside of the picture 0. Channels run over levels, then x, then y.
    """
    found = [_windows(volume, coords.flatten(2) / 2**level) for level, volume in enumerate(levels)]
    return torch.cat(found, 2).mT.unflatten(2, coords.shape[2:])


def _windows(volume: Tensor, coords: Tensor) -> Tensor:
    """Return (E, P, 49) of a volume (E, P, h, w) at coords (E, 2, P).

    All offsets are whole, so they share one blend of four whole windows of 7x7 in one of 8x8.
    """
    height, width = volume.shape[2:]
    side = 2 * RADIUS + 1
    if height * width == 0:
        return volume.new_zeros(*volume.shape[:2], side * side)
    coords = coords.nan_to_num(nan=_FAR).clamp(-_FAR, _FAR)
    corner = coords.floor()
    steps = torch.arange(-RADIUS, RADIUS + 2, device=coords.device)
    x, y = (corner[:, axis].long()[..., None] + steps for axis in (0, 1))  # (E, P, 8)
    there = ((x >= 0) & (x < width))[..., None] & ((y >= 0) & (y < height))[..., None, :]
    place = x.clamp(0, width - 1)[..., None] + width * y.clamp(0, height - 1)[..., None, :]
    window = torch.gather(volume.flatten(2), 2, place.flatten(2)).unflatten(2, (side + 1, side + 1))
    window = window.masked_fill(~there, 0)
    part = (coords - corner)[..., None, None].to(volume.dtype)
    across = window[:, :, :-1] + part[:, 0] * (window[:, :, 1:] - window[:, :, :-1])
    return (across[..., :-1] + part[:, 1] * (across[..., 1:] - across[..., :-1])).flatten(2)
