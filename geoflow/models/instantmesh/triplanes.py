"""The decoder: image tokens to three feature planes (Hong et al. 2023, "LRM")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geoflow.models.instantmesh.config import ReconstructorConfig

PLANES = 3
_BLOCK_EPS, _LAST_EPS = 1e-5, 1e-6  # as the published weights were trained


class DecoderBlock(nn.Module):
    """Cross attention to the image tokens, self attention and an MLP, each after a norm and with a residual."""

    def __init__(self, width: int, heads: int, image_width: int) -> None:
        super().__init__()
        attention = {"embed_dim": width, "num_heads": heads, "bias": False, "batch_first": True}
        self.norm1 = nn.LayerNorm(width, _BLOCK_EPS)
        self.cross_attn = nn.MultiheadAttention(**attention, kdim=image_width, vdim=image_width)
        self.norm2 = nn.LayerNorm(width, _BLOCK_EPS)
        self.self_attn = nn.MultiheadAttention(**attention)
        self.norm3 = nn.LayerNorm(width, _BLOCK_EPS)
        layers = [nn.Linear(width, 4 * width), nn.GELU(), nn.Identity(), nn.Linear(4 * width, width)]
        self.mlp = nn.Sequential(*layers)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """x (B, L, D); image (B, M, C), which is not normed."""
        x = x + self.cross_attn(self.norm1(x), image, image, need_weights=False)[0]
        own = self.norm2(x)
        x = x + self.self_attn(own, own, own, need_weights=False)[0]
        return x + self.mlp(self.norm3(x))


class TriplaneDecoder(nn.Module):
    """Learnt queries, one for each point of three coarse planes, become the planes' features."""

    def __init__(self, config: ReconstructorConfig) -> None:
        super().__init__()
        width, self._side = config.transformer_dim, config.triplane_low_res
        self.pos_embed = nn.Parameter(torch.zeros(1, PLANES * self._side**2, width))
        self.layers = nn.ModuleList(
            DecoderBlock(width, config.transformer_heads, config.encoder.hidden_size)
            for _ in range(config.transformer_layers)
        )
        self.norm = nn.LayerNorm(width, _LAST_EPS)
        self.deconv = nn.ConvTranspose2d(width, config.triplane_dim, 2, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        """Image tokens (B, M, C) of all views, end to end, to planes (B, 3, C', 2 R, 2 R)."""
        x = self.pos_embed.expand(len(image), -1, -1)
        for layer in self.layers:
            x = layer(x, image)
        maps = self.norm(x).unflatten(1, (PLANES, self._side, self._side)).flatten(0, 1).permute(0, 3, 1, 2)
        return self.deconv(maps).unflatten(0, (-1, PLANES))
