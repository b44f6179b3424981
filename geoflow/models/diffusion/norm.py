"""Group norms, with their own computation on a GPU.

PyTorch's kernel gives each group of each image one block of threads. The maps here are large and few, so most of a GPU
would be idle. Also, PyTorch copies maps with channels last first. In float32 the statistics are therefore two
reductions, over the pixels of a channel and the channels of a group, and then one product and sum. On an
H200, 16 frames of 1024x576 are decoded in 1.33 s, and in 3.55 s with PyTorch's kernel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.diffusion.config import NORM_GROUPS

_NORM_PARTS = 4


class GroupNorm(nn.GroupNorm):
    """A norm of (N, C, ...) over the channels of a group and all that follows them."""

    def forward(self, x: Tensor) -> Tensor:
        if not _in_own_way(x):
            return super().forward(x)
        scale, shift = self._affine(x)
        return torch.addcmul(shift, x, scale)

    def silu(self, x: Tensor, out: Tensor) -> Tensor:
        """Norm and SiLU of (N, C, ...) into `out`, which may be x, with small temporaries."""
        if _in_own_way(x):
            scale, shift = self._affine(x)
            return F.silu(torch.addcmul(shift, x, scale, out=out), inplace=True)
        step = max(1, self.num_groups // _NORM_PARTS)
        width = self.num_channels // self.num_groups * step
        for start in range(0, self.num_channels, width):
            part = slice(start, start + width)
            normed = F.group_norm(x[:, part], step, self.weight[part], self.bias[part], self.eps)
            out[:, part] = F.silu(normed, inplace=True)
        return out

    def _affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift (N, C, 1, ...) that are the norm of x."""
        var, mean = torch.var_mean(x, tuple(range(2, x.dim())), correction=0)
        var, mean = (rows.unflatten(1, (self.num_groups, -1)) for rows in (var, mean))  # (N, G, C / G)
        middle = mean.mean(2, keepdim=True)
        spread = (var + (mean - middle) ** 2).mean(2, keepdim=True)
        scale = self.weight.unflatten(0, (self.num_groups, -1)) * torch.rsqrt(spread + self.eps)
        shift = self.bias.unflatten(0, (self.num_groups, -1)) - middle * scale
        shape = (len(x), -1, *[1] * (x.dim() - 2))
        return scale.reshape(shape), shift.reshape(shape)


def group_norm(channels: int, eps: float, groups: int = NORM_GROUPS) -> GroupNorm:
    return GroupNorm(groups, channels, eps)


def _in_own_way(x: Tensor) -> bool:
    return x.device.type == "cuda" and x.dtype == torch.float32
