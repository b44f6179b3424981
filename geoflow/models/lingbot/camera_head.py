"""The camera head: a pose encoding from a frame's camera token, refined a few times, aware of earlier frames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.lingbot.abreast import Each
from geoflow.models.lingbot.blocks import MLP, Block, Product, See
from geoflow.models.lingbot.cache import TokenCache
from geoflow.models.lingbot.config import LingbotConfig

_EPS, _PLAIN_EPS = 1e-5, 1e-6  # of norms with parameters, and of the one without


class CameraHead(nn.Module):
    """Camera tokens (S, 2 C) to pose encodings (S, 9): `geoflow.models.lingbot.poses` says what they mean."""

    def __init__(self, config: LingbotConfig) -> None:
        super().__init__()
        dim = 2 * config.embed_dim
        self.iterations = config.iterations
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, 9))
        self.token_norm, self.trunk_norm = nn.LayerNorm(dim, _EPS), nn.LayerNorm(dim, _EPS)
        self.embed_pose = Product(9, dim)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), Product(dim, 3 * dim))
        self.trunk = nn.ModuleList(Block(dim, config.camera_heads, eps=_EPS) for _ in range(config.trunk_depth))
        self.pose_branch = MLP(dim, dim // 2, 9)

    def caches(self, expected: int = 0, *, iterations: int | None = None) -> list[list[TokenCache]]:
        """Return an empty cache for each iteration and block; None is as many iterations as in training."""
        return [[TokenCache(expected) for _ in self.trunk] for _ in range(iterations or self.iterations)]

    def forward(self, tokens: Tensor, caches: list[list[TokenCache]], *, keep: bool = True) -> list[Tensor]:
        """Return the encodings after each iteration; frames leave keys and values in the caches if they are to `keep`.

        All frames given at once see each other, and every frame kept before.
        """
        return self._refined(tokens, [[partial(cache.see, keep=keep) for cache in row] for row in caches])

    def abreast(self, tokens: Tensor, streams: Sequence[list[list[TokenCache]]], *, keep: bool = True) -> list[Tensor]:
        """Return the encodings (B, 9) after each iteration of one frame of each of B streams; tokens (B, 2 C).

        Each frame sees what its own stream kept before.
        """
        sees = [
            [Each([partial(cache.see, keep=keep) for cache in caches]) for caches in zip(*rows)]
            for rows in zip(*streams)
        ]
        return [found[:, 0] for found in self._refined(tokens[:, None], sees)]

    def _refined(self, tokens: Tensor, sees: Sequence[Sequence[See]]) -> list[Tensor]:
        """Return the encodings (..., 9) of tokens (..., 2 C) after each iteration."""
        token = self.token_norm(tokens)
        plain = F.layer_norm(token, token.shape[-1:], eps=_PLAIN_EPS)
        pose = token.new_zeros(*tokens.shape[:-1], 9)
        found: list[Tensor] = []
        for row in sees:
            told = pose if found else self.empty_pose_tokens[0]  # a stand-in, which is not added to
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(told)).chunk(3, dim=-1)
            x = token + gate * (plain * (1 + scale) + shift)
            for block, see in zip(self.trunk, row):
                x = block(x, see=see)
            pose = pose + self.pose_branch(self.trunk_norm(x))
            found.append(torch.cat((pose[..., :7], pose[..., 7:].relu()), dim=-1))
        return found
