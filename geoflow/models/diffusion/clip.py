"""The image tower of CLIP (Radford et al. 2021), from layers that its text tower shares."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.diffusion.attention import attend
from geoflow.models.diffusion.config import CLIPVisionConfig, TowerConfig


class CLIPAttention(nn.Module):
    """Multi-head self attention with biases; `causal`: every token sees itself and those before it."""

    def __init__(self, config: TowerConfig, causal: bool) -> None:
        super().__init__()
        width = config.hidden_size
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self._heads = config.num_attention_heads
        self._causal = causal

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self._heads, self._causal))


class CLIPMLP(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class CLIPLayer(nn.Module):
    """Attention and MLP, each after a norm and with a residual."""

    def __init__(self, config: TowerConfig, causal: bool) -> None:
        super().__init__()
        self.self_attn = CLIPAttention(config, causal)
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
    """The layers of a tower."""

    def __init__(self, config: TowerConfig, causal: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CLIPLayer(config, causal) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class CLIPTransformer(nn.Module):
    """Pixels to the class token after the last layer."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.embeddings = CLIPEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)  # spelt as it was published
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.encoder(self.pre_layrnorm(self.embeddings(pixels)))
        return self.post_layernorm(x[:, 0])


class CLIPVision(nn.Module):
    """Normalised pixels (N, 3, 224, 224) to image embeddings (N, D), projected and not normalised."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.vision_model = CLIPTransformer(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.visual_projection(self.vision_model(pixels))
