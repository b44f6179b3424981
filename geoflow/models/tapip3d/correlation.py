"""What a point looks like now beside what it looked like in the query's frame, in three dimensions.

For each level, the k features nearest to a point's estimate are compared by attention with the k + 1 features around
its query, the support. What the projections make of the support is folded into those of the neighbours. That is made
anew for the points that are compared at once: for all points of a window it would take far more memory than it saves.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from geoflow.models.tapip3d.attention import CrossBlock, Pooling
from geoflow.models.tapip3d.config import CorrelationConfig
from geoflow.models.tapip3d.fourier import WIDTH, encode_positions


class NeighbourTransformer(nn.Module):
    """Attention of support and neighbours to each other, and one learned token for each that sums it up."""

    def __init__(self, config: CorrelationConfig) -> None:
        super().__init__()
        dim, heads, head_dim = config.transformer_dim, config.transformer_num_heads, config.transformer_head_dim
        self.output_token_1 = nn.Parameter(torch.zeros(1, dim))
        self.output_token_2 = nn.Parameter(torch.zeros(1, dim))
        self.xblock1_2 = CrossBlock(dim, heads, head_dim, config.transformer_mlp_ratio)
        self.xblock2_1 = CrossBlock(dim, heads, head_dim, config.transformer_mlp_ratio)
        self.aggr1 = Pooling(dim, heads, head_dim)
        self.aggr2 = Pooling(dim, heads, head_dim)

    def forward(self, support: Tensor, neighbours: Tensor) -> Tensor:
        """Compare support (N, k + 1, C) of N points with neighbours (T, N, k, C): (T, N, C)."""
        seen = self.xblock1_2.attend_from(support, self.xblock1_2.fold_tokens(support), neighbours)
        answer = self.aggr1(self.output_token_1, seen)
        context = self.xblock2_1.fold_context(support)
        return answer + self.aggr2(self.output_token_2, self.xblock2_1.attend_to(neighbours, context))


class Correlation(nn.Module):
    """The comparison on all levels."""

    def __init__(self, feature_dim: int, levels: int, config: CorrelationConfig) -> None:
        super().__init__()
        self.in_norm = nn.LayerNorm(feature_dim)
        self.posenc_mlps = nn.ModuleList([_position_mlp(config) for _ in range(levels)])
        self.transformers = nn.ModuleList([NeighbourTransformer(config) for _ in range(levels)])
        same = config.transformer_dim == feature_dim
        self.feat_transform = nn.Identity() if same else nn.Linear(feature_dim, config.transformer_dim)

    def content(self, features: Tensor) -> Tensor:
        """Return the part of a token (..., C) that a feature (..., F) decides, whatever its position."""
        return cast(Tensor, self.feat_transform(self.in_norm(features)))

    def tokens(self, level: int, content: Tensor, offsets: Tensor) -> Tensor:
        """Add to content (..., C) what offsets (..., 3) from the point say."""
        encoded: Tensor = self.posenc_mlps[level](encode_positions(offsets))
        return content + encoded

    def support(self, level: int, features: Tensor, offsets: Tensor) -> Tensor:
        """Return the support (N, k + 1, C) of N points from features (N, k + 1, F) and offsets (N, k + 1, 3)."""
        return self.tokens(level, self.content(features), offsets)

    def forward(self, level: int, support: Tensor, content: Tensor, offsets: Tensor) -> Tensor:
        """Compare N points with neighbours in T frames, content (T, N, k, C) and offsets (T, N, k, 3): (T, N, C)."""
        return cast(Tensor, self.transformers[level](support, self.tokens(level, content, offsets)))


def _position_mlp(config: CorrelationConfig) -> nn.Sequential:
    width, hidden = 3 * WIDTH, config.posenc_mlp_dim
    layers: list[nn.Module] = [nn.LayerNorm(width)]
    for k in range(config.posenc_mlp_layers):
        inside = width if k == 0 else hidden
        outside = config.transformer_dim if k == config.posenc_mlp_layers - 1 else hidden
        layers += [nn.Linear(inside, outside), nn.GELU()]
    return nn.Sequential(*layers, nn.LayerNorm(config.transformer_dim))
