"""The convolutional encoders of a picture: for features that are compared, and for context."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

_WIDTHS = (32, 64, 128)


def _norm(normed: bool, width: int) -> nn.Module:
    return nn.InstanceNorm2d(width) if normed else nn.Identity()


class Residual(nn.Module):
    """Two convolutions, each with a norm and a ReLU, and the input added."""

    def __init__(self, inside: int, width: int, stride: int, normed: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, 1)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1)
        self.norm = _norm(normed, width)
        self.downsample = nn.Sequential(nn.Conv2d(inside, width, 1, stride), self.norm) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv1(x)).relu()
        y = self.norm(self.conv2(y)).relu()
        return cast(Tensor, (self.downsample(x) + y).relu())


class Encoder(nn.Module):
    """Pictures (N, 3, H, W), normalised, to (N, C, H / 8, W / 8)."""

    def __init__(self, channels: int, normed: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 7, 2, 3)
        self.norm = _norm(normed, _WIDTHS[0])
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(Residual(inside, width, stride, normed), Residual(width, width, 1, normed))
            for inside, width, stride in zip((_WIDTHS[0], *_WIDTHS), _WIDTHS, (1, 2, 2))
        )
        self.conv2 = nn.Conv2d(_WIDTHS[-1], channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv2(self.layer3(self.layer2(self.layer1(self.stem(x))))))

    def stem(self, x: Tensor) -> Tensor:
        """Return (N, 32, H / 2, W / 2)."""
        return cast(Tensor, self.norm(self.conv1(x)).relu())


def normalised(rgb: Tensor) -> Tensor:
    """Return pictures (N, 3, H, W), RGB in 0..1, by the mean and deviation of ImageNet."""
    mean = torch.tensor([0.485, 0.456, 0.406], device=rgb.device, dtype=rgb.dtype)
    deviation = torch.tensor([0.229, 0.224, 0.225], device=rgb.device, dtype=rgb.dtype)
    return (rgb - mean[:, None, None]) / deviation[:, None, None]
