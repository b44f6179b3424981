"""The image encoder: DINO's ViT (Caron et al. 2021), whose norms are modulated by the view's camera."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.diffusion.attention import attend
from geoflow.models.instantmesh.config import EncoderConfig

_EPS = 1e-12  # of every norm here
_CAMERA = 16  # numbers of a camera vector
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_OFFSET = 0.1  # patches added to the size that positions are resized to


class Embeddings(nn.Module):
    """A class token and one token per patch, with learnt positions."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.side = config.image_size // patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + self.side**2, width))
        self.patch_embeddings = nn.ModuleDict({"projection": nn.Conv2d(3, width, patch, stride=patch)})

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (V, 3, H, W), normalised, to (V, 1 + L, C)."""
        patches = self.patch_embeddings["projection"](pixels)
        tokens = torch.cat([self.cls_token.expand(len(pixels), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        return tokens + self.positions(patches.shape[2], patches.shape[3])

    def positions(self, rows: int, columns: int) -> Tensor:
        """Positions (1, 1 + rows * columns, C), resized bicubically.

        The published weights were trained with a scale factor that is slightly larger than the ratio of the sizes, and
        with samples at steps of that factor.
        """
        if (rows, columns) == (self.side, self.side):
            return self.position_embeddings
        first, table = self.position_embeddings.split([1, self.side**2], dim=1)
        maps = table.transpose(1, 2).unflatten(2, (self.side, self.side))
        factors = [(count + _OFFSET) / self.side for count in (rows, columns)]
        resized = F.interpolate(maps, scale_factor=factors, mode="bicubic", align_corners=False)
        return torch.cat([first, resized.flatten(2).transpose(1, 2)], dim=1)


class EncoderAttention(nn.Module):
    """Multi-head self attention with biases, under its published names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.attention = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
        self.output = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.attention[name](x) for name in ("query", "key", "value"))
        return self.output["dense"](attend(q, k, v, self._heads))


class EncoderBlock(nn.Module):
    """Self attention and an MLP, each after a norm that the camera shifts and scales."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.layernorm_before = nn.LayerNorm(width, _EPS)
        self.attention = EncoderAttention(width, config.num_attention_heads)
        self.layernorm_after = nn.LayerNorm(width, _EPS)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = nn.ModuleDict({"dense": nn.Linear(inner, width)})
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 4 * width))

    def forward(self, x: Tensor, camera: Tensor) -> Tensor:
        """x (V, L, C); camera (V, C), embedded."""
        shift1, scale1, shift2, scale2 = self.adaLN_modulation(camera)[:, None].chunk(4, dim=-1)
        x = x + self.attention(self.layernorm_before(x) * (1 + scale1) + shift1)
        hidden = self.intermediate["dense"](self.layernorm_after(x) * (1 + scale2) + shift2)
        return x + self.output["dense"](F.gelu(hidden))


class EncoderBlocks(nn.Module):
    """The blocks, under their published name."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(EncoderBlock(config) for _ in range(config.num_hidden_layers))


class VisionTransformer(nn.Module):
    """Pixels to tokens."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = EncoderBlocks(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, _EPS)

    def forward(self, pixels: Tensor, camera: Tensor) -> Tensor:
        x = self.embeddings(pixels)
        for block in self.encoder.layer:
            x = block(x, camera)
        return self.layernorm(x)


class ViewEncoder(nn.Module):
    """Views and their cameras to image tokens."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.model = VisionTransformer(config)
        self.camera_embedder = nn.Sequential(nn.Linear(_CAMERA, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, views: Tensor, cameras: Tensor) -> Tensor:
        """views (V, 3, H, W) in 0..1, cameras (V, 16) to tokens (V, 1 + L, C), the class token first."""
        mean, std = (views.new_tensor(row).view(3, 1, 1) for row in (_MEAN, _STD))
        return self.model((views - mean) / std, self.camera_embedder(cameras))
