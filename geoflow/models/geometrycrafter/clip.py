"""The image tower of CLIP (Radford et al. 2021) and the preprocessing of its frames."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.geometrycrafter.attention import attend
from geoflow.models.geometrycrafter.config import CLIPVisionConfig

INPUT_SIZE = 224  # px
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


class CLIPAttention(nn.Module):
    """Multi-head self attention with biases."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self._heads = config.num_attention_heads

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self._heads))


class CLIPMLP(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class CLIPLayer(nn.Module):
    """Attention and MLP, each after a norm and with a residual."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.self_attn = CLIPAttention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = CLIPMLP(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class CLIPEmbeddings(nn.Module):
    """A class token and one token per patch, with learnt positions."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        patch, width = config.patch_size, config.hidden_size
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding((config.image_size // patch) ** 2 + 1, width)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(len(patches), 1, -1), patches], dim=1)
        return tokens + self.position_embedding.weight


class CLIPEncoder(nn.Module):
    """The layers."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CLIPLayer(config) for _ in range(config.num_hidden_layers))


class CLIPTransformer(nn.Module):
    """Pixels to the class token after the last layer."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.embeddings = CLIPEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)  # spelt as it was published
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.pre_layrnorm(self.embeddings(pixels))
        for layer in self.encoder.layers:
            x = layer(x)
        return self.post_layernorm(x[:, 0])


class CLIPVision(nn.Module):
    """Normalised pixels (N, 3, 224, 224) to image embeddings (N, D), projected and not normalised."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.vision_model = CLIPTransformer(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.visual_projection(self.vision_model(pixels))


def resize_for_clip(frames: Tensor, size: int = INPUT_SIZE) -> Tensor:
    """Frames (N, 3, H, W) float32 to (N, 3, 224, 224): blurred, then bicubic between corners, aspect ratio not kept.

    Values may leave the range a little; they are not clamped.
    """
    for axis in (3, 2):  # x first
        frames = _blur(frames, axis, size)
    return F.interpolate(frames, (size, size), mode="bicubic", align_corners=True)


def normalise(frames: Tensor) -> Tensor:
    """Frames (N, 3, h, w) in -1..1 to CLIP's mean and deviation."""
    mean, std = (frames.new_tensor(row).view(3, 1, 1) for row in (_MEAN, _STD))
    return ((frames + 1) / 2 - mean) / std


def _blur(frames: Tensor, axis: int, target: int) -> Tensor:
    """Blur along one axis with a Gaussian for shrinking to `target`; borders reflect. Small frames stay unchanged."""
    sigma = (frames.shape[axis] / target - 1) / 2
    if sigma <= 0.001:  # then the weights beside the middle vanish
        return frames
    taps = int(max(4 * sigma, 3)) | 1
    reach = taps // 2
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(-reach, reach + 1)]
    kernel = frames.new_tensor(weights).div_(sum(weights))
    along_x = axis == 3
    padded = F.pad(frames, (reach, reach, 0, 0) if along_x else (0, 0, reach, reach), mode="reflect")
    shape = (1, 1, 1, taps) if along_x else (1, 1, taps, 1)
    return F.conv2d(padded.flatten(0, 1)[:, None], kernel.view(shape)).view(frames.shape)
