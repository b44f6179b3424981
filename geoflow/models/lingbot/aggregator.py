"""From pictures to tokens that know of earlier frames: encoder, then frame and global blocks in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from geoflow.models.lingbot.abreast import Each
from geoflow.models.lingbot.blocks import Block, See
from geoflow.models.lingbot.cache import FrameCache
from geoflow.models.lingbot.config import HEAD_DIM, PATCH, REGISTERS, LingbotConfig
from geoflow.models.lingbot.encoder import Encoder
from geoflow.models.lingbot.rotary import (
    Table,
    picture_positions,
    picture_table,
    rotate_halves,
    rotate_neighbours,
    video_table,
)

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in 0..1
_EPS = 1e-5

Watch = Callable[[str, Tensor], None]


class Aggregator(nn.Module):
    """Tokens of a frame: camera, registers, scale, patches. Each comes in one variant for the stream's first frames."""

    def __init__(self, config: LingbotConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.config = config
        self.patch_embed = Encoder(config)
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, dim))
        self.register_token = nn.Parameter(torch.zeros(1, 2, REGISTERS, dim))
        self.scale_token = nn.Parameter(torch.zeros(1, 2, 1, dim))
        self.frame_blocks, self.global_blocks = (
            nn.ModuleList(Block(dim, config.heads, eps=_EPS, norm=True) for _ in range(config.depth)) for _ in range(2)
        )

    def caches(self, expected: int = 0, *, forever: int | None = None, window: int | None = None) -> list[FrameCache]:
        """Return an empty cache for each global block; None is as in training."""
        first, later = forever or self.config.scale_frames, window or self.config.window
        return [FrameCache(first, later, expected) for _ in range(self.config.depth)]

    def forward(
        self, pictures: Tensor, caches: list[FrameCache], *, begin: bool, keep: bool = True, watch: Watch | None = None
    ) -> list[Tensor]:
        """Return the selected levels, (S, P, 2 C) float32 each, of pictures (S, 3, H, W) in 0..1.

        With `begin` they are the first of their stream and see each other. Else it is one picture; it sees what the
        caches hold, and leaves its own there if it is to `keep`.
        """
        count, _, height, width = pictures.shape
        grid = height // PATCH, width // PATCH
        start = caches[0].kept
        x = self.tokens(pictures, begin=begin, first=start == 0)
        watch("tokens", x) if watch else None
        table = video_table(torch.arange(start, start + count), *grid)
        sees = [
            partial(cache.begin, count=count) if begin else cache.keep_and_see if keep else cache.see
            for cache in caches
        ]
        return self._levels(x, grid, table, sees, watch)

    def abreast(self, pictures: Tensor, streams: Sequence[list[FrameCache]], *, keep: bool) -> list[Tensor]:
        """Return the selected levels, (B, P, 2 C) float32 each, of the next picture of each of B streams, which begun.

        pictures (B, 3, H, W) in 0..1. Products are computed for all at once; each picture sees what its own caches
        hold, and leaves its own there if it is to `keep`.
        """
        grid = pictures.shape[2] // PATCH, pictures.shape[3] // PATCH
        x = self.tokens(pictures, begin=False, first=False)
        tables = [video_table(torch.tensor([caches[0].kept]), *grid) for caches in streams]
        cos, sin = (torch.stack(parts)[:, None] for parts in zip(*tables))  # (B, 1, P, d / 2)
        sees = [Each([cache.keep_and_see if keep else cache.see for cache in caches]) for caches in zip(*streams)]
        return self._levels(x, grid, (cos, sin), sees)

    def _levels(
        self, x: Tensor, grid: tuple[int, int], table: Table, sees: Sequence[See], watch: Watch | None = None
    ) -> list[Tensor]:
        """Take tokens (S, P, C) through all blocks; global ones join the S frames unless an `Each` parts them."""
        flat = partial(rotate_halves, table=_on(x, picture_table(picture_positions(*grid), HEAD_DIM)))
        deep = partial(rotate_neighbours, table=_on(x, table))
        levels = []
        for k, see in enumerate(sees):
            local = x = self.frame_blocks[k](x, flat)
            joined = x if isinstance(see, Each) else x.flatten(0, 1)
            x = self.global_blocks[k](joined, deep, see).reshape(x.shape)
            if watch:
                watch("frame", local)
                watch("global", x)
            if k in self.config.selected:
                levels.append(torch.cat((local, x), dim=-1))
        return levels

    def tokens(self, pictures: Tensor, *, begin: bool, first: bool) -> Tensor:
        """Return what the first frame block sees, (S, P, C) float32; the `first` picture is that of the stream."""
        mean, deviation = (pictures.new_tensor(row).view(3, 1, 1) for row in (_MEAN, _DEVIATION))
        patches = self.patch_embed((pictures - mean) / deviation)
        variant = [int(k > 0 or not first) for k in range(len(pictures))]
        scale = self.scale_token[0, [int(not begin)] * len(pictures)]
        return torch.cat((self.camera_token[0, variant], self.register_token[0, variant], scale, patches), dim=1)


def _on(x: Tensor, table: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return table[0].to(x.device), table[1].to(x.device)
