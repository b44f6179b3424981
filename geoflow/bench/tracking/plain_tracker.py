"""The tracker's arithmetic as it is written down, with the same weights: what `geoflow.models.tapip3d` is measured by.

Everything that changes at no point is still computed wherever it stands: the support in every iteration and for every
frame, all projections of all tokens, whole matrices of distances; and features and points of all frames are held.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geoflow.models.tapip3d.attention import CrossBlock, Pooling, plain_norm
from geoflow.models.tapip3d.correlation import Correlation
from geoflow.models.tapip3d.fourier import encode_positions
from geoflow.models.tapip3d.network import TrackerNetwork
from geoflow.models.tapip3d.pyramid import halve, level_sizes, pick_points, sample
from geoflow.models.tapip3d.rays import project, unproject_maps

POINTS_AT_ONCE = 384  # as the published program has it


class PlainTracker:
    """Follows points through a clip, window by window."""

    def __init__(self, network: TrackerNetwork) -> None:
        self.network, self.config = network, network.config
        self.length, self.k = network.config.seq_len, network.config.corr_feature.k_neighbors

    def track(
        self,
        rgb: np.ndarray,
        depth: np.ndarray,
        poses: tuple[np.ndarray, np.ndarray],
        queries: np.ndarray,
        iters: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return positions (T, N, 3) and logits (T, N); arguments as of `windows.track_windows`."""
        half, count = self.length // 2, len(rgb)
        order = np.minimum(np.arange(count + -count % half), count - 1)
        self.size = (rgb.shape[1], rgb.shape[2])
        intrinsics, cam_from_world = (torch.from_numpy(values[order]).float() for values in poses)
        self.cameras = (intrinsics, cam_from_world)
        maps = torch.from_numpy(depth[order])
        self.points = unproject_maps(maps, *self.cameras)
        self.valid = maps > 0
        self._encode(torch.from_numpy(rgb[order]).movedim(-1, 1).float() / 255)
        self.queries = torch.from_numpy(queries)
        self.frames = self.queries[:, 0].long()
        self.coords = self.queries[:, 1:].expand(len(order), -1, -1).clone()
        self.logits = torch.zeros(len(order), len(queries))
        self.nearby = self._support()
        for start in range(0, len(order) - self.length + 1, half):
            self._window(start, iters)
        return self.coords[:count].numpy(), self.logits[:count].numpy()

    def _encode(self, rgb: Tensor) -> None:
        sizes = level_sizes(*self.size, self.config.corr_levels)
        self.clouds = [pick_points(self.points, size).flatten(1, 2) for size in sizes]
        self.maps = [torch.cat([self.network.encoder(part) for part in rgb.split(self.length)])]
        while len(self.maps) < len(sizes):
            self.maps.append(halve(self.maps[-1]))

    def _support(self) -> list[Tensor]:
        """The k points of each query's own frame that are nearest to it, per level (N, k)."""
        return [_nearest(cloud[self.frames], self.queries[:, None, 1:], self.k)[:, 0] for cloud in self.clouds]

    def _window(self, start: int, iterations: int) -> None:
        stop, half = start + self.length, self.length // 2
        points = self.points[start:stop][self.valid[start:stop]]
        mean = points.mean(0)
        deviation = (points - mean).square().mean().sqrt()
        index = torch.nonzero(self.frames < stop)[:, 0]
        frames = torch.arange(start, stop).clamp(max=start + half - 1)
        coords, logits = self.coords[frames], self.logits[frames]
        fresh = (self.frames >= start + half) if start else torch.ones(len(self.frames), dtype=torch.bool)
        coords = torch.where(fresh[:, None], self.queries[:, 1:], coords)[:, index]
        logits = torch.where(fresh, torch.zeros_like(logits), logits)[:, index]
        coords = (coords - mean) / deviation
        support = [self._support_of(level, index, mean, deviation) for level in range(len(self.maps))]
        cameras = (self.cameras[0][start:stop], self.cameras[1][start:stop])
        clouds = [(cloud[start:stop] - mean) / deviation for cloud in self.clouds]
        maps = [level[start:stop].flatten(2).mT for level in self.maps]
        for _ in range(iterations):
            parts = range(0, len(index), POINTS_AT_ONCE)
            found = [
                self._correlate(support, clouds, maps, coords, slice(part, part + POINTS_AT_ONCE)) for part in parts
            ]
            pixels = project(coords * deviation + mean, *cameras, self.size)[..., :2]
            pixels = pixels / torch.tensor([self.size[1] - 1, self.size[0] - 1])
            step = self.network.update(logits, torch.cat(found, dim=1), coords, pixels)
            coords, logits = coords + step[..., :3], logits + step[..., 3]
        self.coords[start:stop, index] = coords * deviation + mean
        self.logits[start:stop, index] = logits

    def _support_of(self, level: int, index: Tensor, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, k + 1, C) and offsets (N, k + 1, 3) around the queries, each in its own frame."""
        frames, nearby, maps = self.frames[index], self.nearby[level][index], self.maps[level]
        own = self.queries[index, 1:]
        pixels = project(own[:, None], self.cameras[0][frames], self.cameras[1][frames], self.size)[:, 0, :2]
        scale = torch.tensor([maps.shape[3] / self.size[1], maps.shape[2] / self.size[0]])
        features = maps.flatten(2).mT[frames[:, None], nearby]
        features = torch.cat((sample(maps, frames, pixels * scale)[:, None], features), dim=1)
        points = torch.cat((own[:, None], self.clouds[level][frames[:, None], nearby]), dim=1)
        points = (points - mean) / deviation
        return features, points - points[:, :1]

    def _correlate(self, support: Any, clouds: Any, maps: Any, coords: Tensor, chunk: slice) -> Tensor:
        answers = []
        frames = torch.arange(len(coords))[:, None, None]
        for level, (features, offsets) in enumerate(support):
            nearby = _nearest(clouds[level], coords[:, chunk], self.k)
            around = clouds[level][frames, nearby] - coords[:, chunk, None]
            answers.append(
                _compare(
                    self.network.corr_processor,
                    level,
                    (features[chunk], offsets[chunk]),
                    (maps[level][frames, nearby], around),
                )
            )
        return torch.cat(answers, dim=-1)


def _compare(network: Correlation, level: int, support: tuple[Tensor, Tensor], near: tuple[Tensor, Tensor]) -> Tensor:
    """Compare N points in T frames (T, N, C) by whole attention blocks."""
    tokens, others = (
        network.feat_transform(network.in_norm(features)) + network.posenc_mlps[level](encode_positions(offsets))
        for features, offsets in (support, near)
    )
    transformer: Any = network.transformers[level]
    tokens = tokens.expand(len(others), -1, -1, -1)
    seen, back = _cross(transformer.xblock1_2, tokens, others), _cross(transformer.xblock2_1, others, tokens)
    first = _pool(transformer.aggr1, transformer.output_token_1, seen)
    return first + _pool(transformer.aggr2, transformer.output_token_2, back)


def _cross(block: CrossBlock, x: Tensor, context: Tensor) -> Tensor:
    return block.finish(x, block.cross_attn(plain_norm(x), block.norm_context(context)))


def _pool(pooling: Pooling, token: Tensor, context: Tensor) -> Tensor:
    """One token's attention, with keys and values of everything that it sees."""
    k, v = (rows.unflatten(-1, (pooling.heads, -1)).transpose(-2, -3) for rows in pooling.to_kv(context).chunk(2, -1))
    q = pooling.to_q(token).unflatten(-1, (pooling.heads, -1)).transpose(0, 1).expand(*k.shape[:-2], 1, -1)
    return pooling.to_out(F.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2))[..., 0, :]


def _nearest(points: Tensor, queries: Tensor, k: int) -> Tensor:
    """Indices (T, N, k) of the points (T, P, 3) nearest to queries (T, N, 3), by all their distances at once."""
    squares = (queries[:, :, None] - points[:, None]).square().sum(-1)
    return squares.topk(k, dim=-1, largest=False).indices
