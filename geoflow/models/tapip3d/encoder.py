"""Image encoder: a residual CNN whose four stages are brought to a quarter of the frame's size and merged."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance norms; the shortcut of a strided block is a normalised 1x1 convolution."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(F.instance_norm(self.conv1(x)))
        y = F.relu(F.instance_norm(self.conv2(y)))
        return F.relu((x if self.downsample is None else F.instance_norm(self.downsample(x))) + y)


class Backbone(nn.Module):
    """Maps (N, 3, H, W) to (N, C, H // 4, W // 4)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        widths = (dim // 2, dim // 4 * 3, dim, dim)
        self.conv1 = nn.Conv2d(3, widths[0], 7, stride=2, padding=3)
        inside = widths[0]
        for k, (width, stride) in enumerate(zip(widths, (1, 2, 2, 2)), start=1):
            blocks = ResidualBlock(inside, width, stride), ResidualBlock(width, width, 1)
            self.add_module(f"layer{k}", nn.Sequential(*blocks))
            inside = width
        self.conv2 = nn.Conv2d(sum(widths), 2 * dim, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[-2] // 4, x.shape[-1] // 4)
        x = F.relu(F.instance_norm(self.conv1(x)))
        stages = []
        for k in range(1, 5):
            x = self.get_submodule(f"layer{k}")(x)
            stages.append(F.interpolate(x, size, mode="bilinear", align_corners=True))
        x = F.relu(F.instance_norm(self.conv2(torch.cat(stages, dim=1))))
        return self.conv3(x)


class Encoder(nn.Module):
    """Features of frames; instance norms only, so a frame's features do not depend on those beside it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.backbone = Backbone(dim)

    def forward(self, rgb: Tensor) -> Tensor:
        """rgb (N, 3, H, W) in 0..1 to features (N, C, H // 4, W // 4). The network was trained on 4 rgb - 3."""
        return self.backbone(rgb * 4 - 3)
