"""The image tower of CLIP (Radford et al. 2021) in Jittor, with the published parameter names."""

from __future__ import annotations

from geoflow.models.diffusion.config import CLIPVisionConfig
from geoflow.models.geometrycrafter_jittor.framework import Var, jt, nn
from geoflow.models.geometrycrafter_jittor.layers import LayerNorm, attend, modules


class CLIPAttention(nn.Module):
    """Multi-head self attention with biases."""

    def __init__(self, width: int, heads: int) -> None:
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self._heads = heads

    def execute(self, x: Var) -> Var:
        return self.out_proj(attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self._heads))


class CLIPMLP(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, width: int, inner: int) -> None:
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def execute(self, x: Var) -> Var:
        return self.fc2(nn.gelu(self.fc1(x)))


class CLIPLayer(nn.Module):
    """Attention and MLP, each after a norm and with a residual."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        width, eps = config.hidden_size, config.layer_norm_eps
        self.self_attn = CLIPAttention(width, config.num_attention_heads)
        self.layer_norm1 = LayerNorm(width, eps)
        self.mlp = CLIPMLP(width, config.intermediate_size)
        self.layer_norm2 = LayerNorm(width, eps)

    def execute(self, x: Var) -> Var:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class CLIPEmbeddings(nn.Module):
    """A class token and one token per patch, with learnt positions."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        patch, width = config.patch_size, config.hidden_size
        self.class_embedding = jt.zeros((width,))
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding((config.image_size // patch) ** 2 + 1, width)
        self._width = width

    def execute(self, pixels: Var) -> Var:
        count = len(pixels)
        patches = self.patch_embedding(pixels).reshape(count, self._width, -1).permute(0, 2, 1)
        first = self.class_embedding.reshape(1, 1, -1).broadcast((count, 1, self._width))
        return jt.concat([first, patches], dim=1) + self.position_embedding.weight


class CLIPEncoder(nn.Module):
    """The layers of the tower."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        self.layers = modules(CLIPLayer(config) for _ in range(config.num_hidden_layers))

    def execute(self, x: Var) -> Var:
        return self.layers(x)


class CLIPTransformer(nn.Module):
    """Pixels to the class token after the last layer."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        self.embeddings = CLIPEmbeddings(config)
        self.pre_layrnorm = LayerNorm(config.hidden_size, config.layer_norm_eps)  # spelt as it was published
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = LayerNorm(config.hidden_size, config.layer_norm_eps)

    def execute(self, pixels: Var) -> Var:
        x = self.encoder(self.pre_layrnorm(self.embeddings(pixels)))
        return self.post_layernorm(x[:, 0])


class CLIPVision(nn.Module):
    """Normalised pixels (N, 3, 224, 224) to image embeddings (N, D), projected and not normalised."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        self.vision_model = CLIPTransformer(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)

    def execute(self, pixels: Var) -> Var:
        return self.visual_projection(self.vision_model(pixels))
