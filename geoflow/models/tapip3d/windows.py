"""Points followed through overlapping windows of a clip, each refined in iterations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoflow.errors import ConfigError
from geoflow.models.tapip3d.clip import Clip
from geoflow.models.tapip3d.correlation import Support
from geoflow.models.tapip3d.frames import FrameMaps, WindowFrames, normalisation
from geoflow.models.tapip3d.neighbours import nearest
from geoflow.models.tapip3d.network import TrackerNetwork
from geoflow.models.tapip3d.pyramid import level_sizes, sample
from geoflow.models.tapip3d.rays import project

Watch = Callable[[str, object], None]  # is handed inner quantities by name; for comparisons with the original

_TOKENS = 1 << 15  # neighbours compared at once, over all frames of a window


@dataclass
class Queries:
    """Points to follow, (N,) frames and (N, 3) world positions, and what is known of their support in their frame."""

    frames: Tensor
    points: Tensor
    support_points: list[Tensor]  # per level (N, k + 1, 3) in the world, the query first
    support_features: list[Tensor]  # per level (N, k + 1, C)


def track_windows(
    network: TrackerNetwork,
    clip: Clip,
    queries: np.ndarray,
    *,
    iterations: int = 6,
    depth_range: tuple[float, float] | None = None,
    tokens: int = _TOKENS,
    watch: Watch | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return world positions (T, N, 3) and visibility logits (T, N), float32, of queries (N, 4).

    A query is a frame number and a world position. It takes part in windows that end after its frame; in frames of no
    such window it keeps its position, with the logit 0. A clip of half a window or less has no windows at all. Depth
    outside of `depth_range` does not count in the normalisation. `tokens` bounds memory and does not change the result.
    """
    height, width = level_sizes(*clip.size, network.config.corr_levels)[-1]
    if height * width < (needed := network.config.corr_feature.k_neighbors):
        raise ConfigError(
            f"frames of {clip.size[1]}x{clip.size[0]} px are too small for the tracker: its coarsest level would have "
            f"{height * width} points, and {needed} neighbours are compared; choose a larger resolution_factor"
        )
    run = _Run(network, clip, queries, iterations, depth_range, tokens, watch or _nobody)
    half = network.config.seq_len // 2
    for start in range(0, len(run.clip) - 2 * half + 1, half):
        run.window(start)
    return run.coords[: len(clip)].cpu().numpy(), run.logits[: len(clip)].cpu().numpy()


def _nobody(name: str, value: object) -> None:
    """Watch nothing."""


class _Run:
    """One pass over a clip."""

    def __init__(
        self,
        network: TrackerNetwork,
        clip: Clip,
        queries: np.ndarray,
        iterations: int,
        depth_range: tuple[float, float] | None,
        tokens: int,
        watch: Watch,
    ) -> None:
        self.network, self.config = network, network.config
        self.iterations, self.tokens, self.watch = iterations, tokens, watch
        self.clip = clip.extended(self.config.seq_len // 2)
        self.device = next(network.parameters()).device
        self.frames = WindowFrames(network, self.clip, depth_range)
        self.queries = self._empty_queries(queries)
        total, count = len(self.clip), len(queries)
        self.coords = self.queries.points.expand(total, -1, -1).clone()
        self.logits = torch.zeros(total, count, device=self.device)
        self.supported = 0  # frames up to which support is known

    def _empty_queries(self, queries: np.ndarray) -> Queries:
        values = torch.from_numpy(np.ascontiguousarray(queries, dtype=np.float32)).to(self.device)
        count, k = len(values), self.config.corr_feature.k_neighbors + 1
        levels = range(self.config.corr_levels)
        return Queries(
            values[:, 0].round().long(),
            values[:, 1:].contiguous(),
            [torch.zeros(count, k, 3, device=self.device) for _ in levels],
            [torch.zeros(count, k, self.config.feature_dim, device=self.device) for _ in levels],
        )

    def window(self, start: int) -> None:
        """Refine the points in frames [start, start + S)."""
        length = self.config.seq_len
        half, stop = length // 2, start + length
        maps = self.frames.slide(start, stop)
        for frame in range(max(self.supported, start), stop):
            self._find_support(frame, maps[frame - start])
        self.supported = stop
        taking_part = torch.nonzero(self.queries.frames < stop)[:, 0]
        mean, deviation = normalisation(maps)
        self.watch("window", (start, stop, mean, deviation, taking_part))
        if not len(taking_part):
            return
        fresh = self.queries.frames[taking_part] >= start + half
        coords, logits = self._first_state(start, taking_part, fresh)
        space = _Space(mean, deviation, self.device)
        support = self._prepare_support(taking_part, space)
        window = _Window(self, start, maps, space, support)
        coords = space.enter(coords)
        self.watch("maps", maps)
        self.watch("space", space)
        self.watch("first_state", (coords, logits))
        for iteration in range(self.iterations):
            coords, logits = window.refine(coords, logits)
            self.watch("iteration", (start, iteration, taking_part, coords, space.leave(coords), logits))
        self.coords[start:stop, taking_part] = space.leave(coords)
        self.logits[start:stop, taking_part] = logits

    def _first_state(self, start: int, taking_part: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
        """What the last window says of its second half, its last frame repeated; fresh queries stand still, logit 0."""
        half = self.config.seq_len // 2
        coords = self.coords[start : start + half, taking_part]
        logits = self.logits[start : start + half, taking_part]
        coords = torch.cat((coords, coords[-1:].expand(half, -1, -1)))
        logits = torch.cat((logits, logits[-1:].expand(half, -1)))
        if start == 0:
            fresh = torch.ones_like(fresh)
        coords = torch.where(fresh[:, None], self.queries.points[taking_part], coords)
        return coords, torch.where(fresh, torch.zeros_like(logits), logits)

    def _find_support(self, frame: int, maps: FrameMaps) -> None:
        """The k nearest points of the query's own frame, in the world, and its own feature before theirs."""
        index = torch.nonzero(self.queries.frames == frame)[:, 0]
        if not len(index):
            return
        points, k = self.queries.points[index], self.config.corr_feature.k_neighbors
        intrinsics, pose = self.clip.cameras(frame, frame + 1, self.device)
        height, width = self.clip.size
        pixels = project(points[None], intrinsics, pose, self.clip.size)[0, :, :2]
        for level, (cloud, features) in enumerate(zip(maps.points, maps.features)):
            _, nearby = nearest(cloud, points, k)
            self.watch("support", (frame, level, index, nearby))
            scale = torch.tensor([features.shape[2] / width, features.shape[1] / height], device=self.device)
            own = sample(features[None], torch.zeros(len(index), device=self.device), pixels * scale)
            around = features.flatten(1).mT[nearby]
            self.queries.support_points[level][index] = torch.cat((points[:, None], cloud[nearby]), dim=1)
            self.queries.support_features[level][index] = torch.cat((own[:, None], around), dim=1)

    def _prepare_support(self, taking_part: Tensor, space: _Space) -> list[Support]:
        prepared = []
        for level in range(self.config.corr_levels):
            points = space.enter(self.queries.support_points[level][taking_part])
            features = self.queries.support_features[level][taking_part]
            offsets = points - points[:, :1]
            self.watch("support_tokens", (level, features, offsets))
            prepared.append(self.network.corr_processor.prepare(level, features, offsets))
        return prepared


class _Space:
    """The normalised space of a window."""

    def __init__(self, mean: np.ndarray, deviation: float, device: torch.device) -> None:
        self.mean = torch.from_numpy(mean).float().to(device)
        self.deviation = torch.tensor(deviation, dtype=torch.float32, device=device)

    def enter(self, points: Tensor) -> Tensor:
        return (points - self.mean) / self.deviation

    def leave(self, points: Tensor) -> Tensor:
        return points * self.deviation + self.mean


class _Window:
    """One window's frames in its normalised space."""

    def __init__(self, run: _Run, start: int, maps: list[FrameMaps], space: _Space, support: list[Support]) -> None:
        self.run, self.space, self.support, self.maps = run, space, support, maps
        self.cameras = run.clip.cameras(start, start + len(maps), run.device)
        self.clouds = [[space.enter(points) for points in frame.points] for frame in maps]

    def refine(self, coords: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """One iteration on normalised positions (S, N, 3) and logits (S, N)."""
        correlation = self._correlate(coords)
        height, width = self.run.clip.size
        pixels = project(self.space.leave(coords), *self.cameras, self.run.clip.size)[..., :2]
        parts = pixels / torch.tensor([width - 1, height - 1], dtype=pixels.dtype, device=pixels.device)
        step = self.run.network.update(logits, correlation, coords, parts).float()
        self.run.watch("update", (correlation, logits, coords, parts, step))
        return coords + step[..., :3], logits + step[..., 3]

    def _correlate(self, coords: Tensor) -> Tensor:
        """Return (S, N, levels * C)."""
        length, count = coords.shape[:2]
        k = self.run.config.corr_feature.k_neighbors
        at_once = max(1, self.run.tokens // (length * k))
        chunks = [slice(first, first + at_once) for first in range(0, count, at_once)]
        return torch.cat([self._of_points(coords[:, chunk], chunk) for chunk in chunks], dim=1)

    def _of_points(self, coords: Tensor, chunk: slice) -> Tensor:
        k, answers = self.run.config.corr_feature.k_neighbors, []
        for level, support in enumerate(self.support):
            content, offsets = [], []
            for frame, (maps, clouds) in enumerate(zip(self.maps, self.clouds)):
                _, index = nearest(clouds[level], coords[frame], k)
                self.run.watch("neighbours", (level, frame, chunk, index))
                content.append(maps.content[level][index])
                offsets.append(clouds[level][index] - coords[frame, :, None])
            answers.append(
                self.run.network.corr_processor(level, support.of(chunk), torch.stack(content), torch.stack(offsets))
            )
        return torch.cat(answers, dim=-1)
