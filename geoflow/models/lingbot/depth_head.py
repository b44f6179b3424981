"""The depth head: a dense prediction transformer's decoder (Ranftl et al. 2021, arXiv:2103.13413)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.lingbot.config import PATCH, SPECIAL, LingbotConfig

_GRID_SHARE = 0.1  # of the sine grid in what it is added to
_HIDDEN = 32  # channels before the last layer


class Residual(nn.Module):
    """relu(x) and two convolutions of it. That the ReLU is part of the sum is how the weights were trained."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        return x + self.conv2(self.conv1(x).relu())


class Fusion(nn.Module):
    """Joins a coarse map with the finer one beside it, and enlarges the result."""

    def __init__(self, width: int, *, joins: bool) -> None:
        super().__init__()
        if joins:
            self.resConfUnit1 = Residual(width)
        self.resConfUnit2 = Residual(width)
        self.out_conv = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, beside: Tensor | None, size: tuple[int, int]) -> Tensor:
        x = self.resConfUnit2(x if beside is None else x + self.resConfUnit1(beside))
        return self.out_conv(_resized(x, size))


class Scratch(nn.Module):
    """The decoder's own part."""

    def __init__(self, config: LingbotConfig) -> None:
        super().__init__()
        width = config.dpt_features
        for k, channels in enumerate(config.dpt_channels, 1):
            setattr(self, f"layer{k}_rn", nn.Conv2d(channels, width, 3, padding=1, bias=False))
            setattr(self, f"refinenet{k}", Fusion(width, joins=k < 4))
        self.output_conv1 = nn.Conv2d(width, width // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(width // 2, _HIDDEN, 3, padding=1), nn.ReLU(), nn.Conv2d(_HIDDEN, 2, 1)
        )


class DepthHead(nn.Module):
    """Four levels (S, P, 2 C) to depth along the optical axis and confidence from 1 on, (S, H, W) each."""

    def __init__(self, config: LingbotConfig) -> None:
        super().__init__()
        first, second, _, last = config.dpt_channels
        self.norm = nn.LayerNorm(2 * config.embed_dim)
        self.projects = nn.ModuleList(nn.Conv2d(2 * config.embed_dim, width, 1) for width in config.dpt_channels)
        self.resize_layers = nn.ModuleList(
            (
                nn.ConvTranspose2d(first, first, 4, 4),
                nn.ConvTranspose2d(second, second, 2, 2),
                nn.Identity(),
                nn.Conv2d(last, last, 3, stride=2, padding=1),
            )
        )
        self.scratch = Scratch(config)

    def forward(self, levels: list[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """`size` is that of the picture, (H, W). Frame after frame: the finest maps are larger than all tokens."""
        found = [self._one([level[k : k + 1] for level in levels], size) for k in range(len(levels[0]))]
        return activate(torch.cat(found))

    def _one(self, levels: list[Tensor], size: tuple[int, int]) -> Tensor:
        maps: list[Tensor] = []
        scratch: Any = self.scratch
        aspect = size[1] / size[0]
        for level, project, resize in zip(levels, self.projects, self.resize_layers):
            tokens = self.norm(level[:, SPECIAL:])
            picture = tokens.transpose(1, 2).unflatten(2, (size[0] // PATCH, size[1] // PATCH))
            maps.append(resize(with_grid(project(picture), aspect)))
        sides = [getattr(scratch, f"layer{k}_rn")(x) for k, x in enumerate(maps, 1)]
        x = scratch.refinenet4(sides[3], None, sides[2].shape[2:])
        x = scratch.refinenet3(x, sides[2], sides[1].shape[2:])
        x = scratch.refinenet2(x, sides[1], sides[0].shape[2:])
        height, width = sides[0].shape[2:]
        x = scratch.refinenet1(x, sides[0], (2 * height, 2 * width))
        return scratch.output_conv2(with_grid(_resized(scratch.output_conv1(x), size), aspect))


def activate(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return depth and confidence (..., H, W) of the last layer's answers (..., 2, H, W)."""
    return x[..., 0, :, :].exp(), 1 + x[..., 1, :, :].exp()


def with_grid(x: Tensor, aspect: float) -> Tensor:
    """Add a share of the sine grid to a map (N, C, H, W) of a picture whose width is `aspect` times its height.

    Half of the channels carry the column, and half the row.
    """
    half, (height, width) = x.shape[1] // 2, x.shape[2:]
    u, v = (encode_axis(axis.to(x.device), half).mT for axis in grid_axes(width, height, aspect))  # (C / 2, length)
    return torch.cat((x[:, :half] + _GRID_SHARE * u[:, None], x[:, half:] + _GRID_SHARE * v[:, :, None]), dim=1)


def grid_axes(width: int, height: int, aspect: float) -> tuple[Tensor, Tensor]:
    """Return u of the columns (W,) and v of the rows (H,), float32; the picture's corner has a distance of 1."""
    diagonal = math.hypot(aspect, 1)
    ends = ((side - 1) / side * share / diagonal for side, share in ((width, aspect), (height, 1)))
    u, v = (torch.linspace(-end, end, side) for end, side in zip(ends, (width, height)))
    return u, v


def encode_axis(axis: Tensor, channels: int) -> Tensor:
    """Return (L, C) float32 of positions (L,): sines at C / 2 frequencies, then cosines."""
    frequency = 100.0 ** (-torch.arange(channels // 2, dtype=torch.float64, device=axis.device) / (channels / 2))
    angles = axis.double()[:, None] * frequency
    return torch.cat((angles.sin(), angles.cos()), dim=1).float()


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
