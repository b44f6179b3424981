"""The transformer that sees a crop: patches and 18 tokens for pose, shape and camera, and the first estimate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.wilor.config import CAMERA, JOINTS, PADDING, SHAPES, HandConfig

_EPS = 1e-6


@dataclass(frozen=True)
class Numbers:
    """What the network says of N hands."""

    pose: Tensor  # (N, 96), six numbers for each of 16 rotations
    betas: Tensor  # (N, 10)
    camera: Tensor  # (N, 3): scale, and shift in metres


class Attention(nn.Module):
    """Attention of all tokens to all tokens."""

    def __init__(self, config: HandConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=config.qkv_bias)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers with an exact GELU."""

    def __init__(self, config: HandConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.hidden)
        self.fc2 = nn.Linear(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """One layer; norms come before attention and MLP."""

    def __init__(self, config: HandConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=_EPS)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=_EPS)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Patches(nn.Module):
    """Cuts an image into patches; the first ones start `PADDING` pixels outside of it."""

    def __init__(self, config: HandConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, config.patch, config.patch, PADDING)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image).flatten(2).transpose(1, 2)


class Backbone(nn.Module):
    """Images to the first estimate of a hand, and a map of features for its refinement."""

    init_hand_pose: Tensor
    init_betas: Tensor
    init_cam: Tensor

    def __init__(self, config: HandConfig) -> None:
        super().__init__()
        width, self.grid = config.width, config.grid
        self.patch_embed = Patches(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], width))
        # The mean hand. Its six numbers per joint are used as they are, whatever rotation they stand for.
        self.register_buffer("init_hand_pose", torch.zeros(1, JOINTS * 6))
        self.register_buffer("init_betas", torch.zeros(1, SHAPES))
        self.register_buffer("init_cam", torch.zeros(1, CAMERA))
        self.pose_emb, self.decpose = nn.Linear(6, width), nn.Linear(width, 6)
        self.shape_emb, self.decshape = nn.Linear(SHAPES, width), nn.Linear(width, SHAPES)
        self.cam_emb, self.deccam = nn.Linear(CAMERA, width), nn.Linear(width, CAMERA)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.last_norm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, image: Tensor) -> tuple[Numbers, Tensor]:
        """Return the first estimate of images (N, 3, 256, 192), and features (N, width, 16, 12)."""
        patches = self.patch_embed(image) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        tokens = self._tokens().to(patches.dtype)
        x = torch.cat((tokens.expand(len(image), -1, -1), patches), dim=1)
        for block in self.blocks:
            x = block(x)
        with torch.autocast(image.device.type, enabled=False):
            x = self.last_norm(x.float())
            numbers = Numbers(
                self.decpose(x[:, :JOINTS]).flatten(1) + self.init_hand_pose,
                self.decshape(x[:, JOINTS]) + self.init_betas,
                self.deccam(x[:, JOINTS + 1]) + self.init_cam,
            )
        return numbers, x[:, JOINTS + 2 :].transpose(1, 2).unflatten(2, self.grid)

    def _tokens(self) -> Tensor:
        """Return (1, 18, width): a token for each joint, one for the shape, one for the camera. They have no place."""
        pose = self.pose_emb(self.init_hand_pose.unflatten(1, (JOINTS, 6)))
        others = (self.shape_emb(self.init_betas)[:, None], self.cam_emb(self.init_cam)[:, None])
        return torch.cat((pose, *others), dim=1)
