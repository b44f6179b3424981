"""Residual blocks of feature maps (N, C, h, w), and the layers between sizes.

Everything here is for inference: some results are written over their inputs.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.diffusion.config import NORM_GROUPS
from geoflow.models.diffusion.frame_batches import by_frames
from geoflow.models.diffusion.norm import group_norm


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions after norm and SiLU, with the embedding of the time step added between them."""

    def __init__(
        self, in_channels: int, out_channels: int, eps: float, emb_channels: int = 0, groups: int = NORM_GROUPS
    ) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels, eps, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(emb_channels, out_channels) if emb_channels else None
        self.norm2 = group_norm(out_channels, eps, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, emb: Tensor | None = None) -> Tensor:
        """x (N, C, h, w); emb (N, E), already through SiLU."""
        h = self.conv1(F.silu(self.norm1(x), inplace=True))
        if self.time_emb_proj is not None:
            h += self.time_emb_proj(emb)[:, :, None, None]
        h = F.silu(self.norm2(h), inplace=True)  # frees the previous map, which is large
        h = self.conv2(h)
        return h.add_(x if self.conv_shortcut is None else self.conv_shortcut(x))


class Upsample(nn.Module):
    """Nearest neighbours to twice the size, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return by_frames(lambda part: self.conv(F.interpolate(part, scale_factor=2.0, mode="nearest")), x)


class Downsample(nn.Module):
    """A 3x3 convolution with stride 2, padded all round (UNet) or at the bottom and right only (autoencoders)."""

    def __init__(self, channels: int, pad_all_round: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1 if pad_all_round else 0)
        self._pad_all_round = pad_all_round

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x if self._pad_all_round else F.pad(x, (0, 1, 0, 1)))
