"""Conversion of decoded maps to depth, mask and field of view.

A field of view is stored as the tangent of half the diagonal angle, measured to the centres of the corner pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geoflow.models.geometrycrafter.options import Options
from geoflow.models.geometrycrafter.resizing import Size, bilinear, exp_depth, log_bilinear, nearest

_FOCAL_EPS = 1e-4


@dataclass(frozen=True)
class Maps:
    """Some frames, restored to the size of the video."""

    diagonal: Tensor  # (N, H, W), tangent of half the diagonal field of view, per pixel
    depth: Tensor  # (N, H, W), z, of every pixel
    mask: Tensor  # (N, H, W) bool

    def frame_diagonal(self) -> Tensor:
        """Return one tangent per frame, (N,): the mean of the valid pixels, near 0 if hardly any is valid."""
        return self.masked_diagonal().mean((1, 2)) / (self.mask.float().mean((1, 2)) + _FOCAL_EPS)

    def masked_diagonal(self) -> Tensor:
        return torch.where(self.mask, self.diagonal, 0)


class FocalSum:
    """The single field of view of a video, summed over its frames; nothing leaves the device before the end."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []  # (2,) float64 each: sum over valid pixels, and their number
        self._pixels = 0

    def add(self, maps: Maps) -> None:
        sums = (maps.masked_diagonal().sum(dtype=torch.float64), maps.mask.sum().double())
        self._sums.append(torch.stack(sums))
        self._pixels += maps.mask.numel()

    def diagonal(self) -> float:
        """Tangent of half the diagonal field of view."""
        total, valid = torch.stack(self._sums).sum(0).tolist()
        return total / self._pixels / (valid / self._pixels + _FOCAL_EPS)


def restore(decoded: tuple[Tensor, Tensor, Tensor], size: Size, options: Options) -> Maps:
    """Decoded intrinsics, log depth and mask logit, (N, 1, H', W') each, at the size of the video."""
    diagonal, log_depth, logit = decoded
    if options.use_extract_interp:
        log_depth, logit = nearest(log_depth, size), nearest(logit, size)
    else:
        log_depth, logit = log_bilinear(log_depth, size), bilinear(logit, size)
    return Maps(bilinear(diagonal, size)[:, 0], exp_depth(log_depth)[:, 0], (logit > 0)[:, 0])


def enlarge(maps: Maps, size: Size) -> Maps:
    """Return the maps of a downsampled video at its original size."""
    if maps.mask.shape[1:] == size:
        return maps
    diagonal, depth, mask = (bilinear(m[:, None].float(), size)[:, 0] for m in (maps.diagonal, maps.depth, maps.mask))
    return Maps(diagonal, depth, mask > 0.5)
