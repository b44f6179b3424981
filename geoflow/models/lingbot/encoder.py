"""The picture encoder: a DINOv2 ViT with registers (Oquab et al. 2023, arXiv:2304.07193; Darcet et al. 2023)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.lingbot.blocks import Block
from geoflow.models.lingbot.config import PATCH, REGISTERS, LingbotConfig

_EPS = 1e-6


class Patches(nn.Module):
    """Pictures (N, 3, H, W) to patches (N, h * w, C), row by row."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, PATCH)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.proj(pictures.to(self.proj.weight.dtype)).flatten(2).transpose(1, 2)


class Encoder(nn.Module):
    """Normalised pictures (N, 3, H, W), sides multiples of 14, to patch tokens (N, h * w, C) float32."""

    def __init__(self, config: LingbotConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.patch_embed = Patches(dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, (config.img_size // PATCH) ** 2 + 1, dim))
        self.register_tokens = nn.Parameter(torch.zeros(1, REGISTERS, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # of training; nothing uses it
        self.blocks = nn.ModuleList(Block(dim, config.vit_heads, eps=_EPS) for _ in range(config.vit_depth))
        self.norm = nn.LayerNorm(dim, _EPS)

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.tokens(pictures)
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 1 + REGISTERS :])

    def tokens(self, pictures: Tensor) -> Tensor:
        """Return what the first block sees, (N, 5 + h * w, C) float32: class, registers, patches."""
        count, _, height, width = pictures.shape
        table = position_table(self.pos_embed, height // PATCH, width // PATCH)
        first, others = table[:, :1], table[:, 1:]
        start = torch.cat((self.cls_token + first, self.register_tokens), dim=1).expand(count, -1, -1)
        return torch.cat((start, self.patch_embed(pictures) + others), dim=1)


def position_table(table: Tensor, rows: int, columns: int) -> Tensor:
    """Return the positions (1, 1 + rows * columns, C) of the class token and of a grid of patches.

    The table is for a square grid; any other grid gets it resized.
    """
    side = math.isqrt(table.shape[1] - 1)
    if rows == columns == side:
        return table
    grid = table[:, 1:].float().unflatten(1, (side, side)).movedim(-1, 1)
    grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
    return torch.cat((table[:, :1], grid.flatten(2).transpose(1, 2)), dim=1)
