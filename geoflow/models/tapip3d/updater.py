"""The transformer that moves points: attention over the frames of a track, then over the tracks of a frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geoflow.models.tapip3d.attention import CrossBlock, SelfBlock
from geoflow.models.tapip3d.config import UpdaterConfig

_HEAD_DIM = 48


class Updater(nn.Module):
    """Tracks see each other through learned virtual tracks, so that the cost grows with their number alone."""

    def __init__(self, input_dim: int, config: UpdaterConfig) -> None:
        super().__init__()
        dim = config.hidden_size

        def blocks(kind: type[nn.Module], count: int) -> nn.ModuleList:
            return nn.ModuleList([kind(dim, config.num_heads, _HEAD_DIM, config.mlp_ratio) for _ in range(count)])

        # the published weights spell it so
        self.virual_tracks = nn.Parameter(torch.zeros(1, config.num_virtual_tracks, 1, dim))
        self.input_transform = nn.Linear(input_dim, dim)
        self.flow_head = nn.Linear(dim, 3)
        self.vis_conf_head = nn.Linear(dim, 2)
        self.time_blocks = blocks(SelfBlock, config.time_depth)
        self.space_virtual_blocks = blocks(SelfBlock, config.space_depth)
        self.space_point2virtual_blocks = blocks(CrossBlock, config.space_depth)
        self.space_virtual2point_blocks = blocks(CrossBlock, config.space_depth)

    def forward(self, x: Tensor) -> Tensor:
        """x (T, N, input) to (T, N, 5): a step in x, y, z, one of the logit, and one number that nobody uses."""
        count = x.shape[1]
        virtual = self.virual_tracks[0].expand(-1, x.shape[0], -1)
        x = torch.cat((self.input_transform(x).transpose(0, 1), virtual))  # (N + V, T, C)
        every = len(self.time_blocks) // max(len(self.space_virtual_blocks), 1)
        for k, block in enumerate(self.time_blocks):
            x = block(x)
            if every and k % every == 0 and k // every < len(self.space_virtual_blocks):
                x = self._exchange(k // every, x.transpose(0, 1), count).transpose(0, 1)
        x = x[:count].transpose(0, 1)
        return torch.cat((self.flow_head(x), self.vis_conf_head(x)), dim=-1)

    def _exchange(self, k: int, x: Tensor, count: int) -> Tensor:
        """One exchange between the tracks (T, N + V, C) of every frame."""
        points, virtual = x[:, :count], x[:, count:]
        virtual = self.space_virtual_blocks[k](self.space_virtual2point_blocks[k](virtual, points))
        return torch.cat((self.space_point2virtual_blocks[k](points, virtual), virtual), dim=1)
