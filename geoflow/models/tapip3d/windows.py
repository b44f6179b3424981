"""Points followed through overlapping windows of a clip, each refined in iterations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from geoflow.errors import ConfigError
from geoflow.models.tapip3d.clip import Clip
from geoflow.models.tapip3d.config import TrackerConfig
from geoflow.models.tapip3d.frames import FrameMaps, WindowFrames, normalisation
from geoflow.models.tapip3d.neighbours import nearest
from geoflow.models.tapip3d.network import TrackerNetwork
from geoflow.models.tapip3d.pyramid import level_sizes
from geoflow.models.tapip3d.rays import project
from geoflow.models.tapip3d.supported_points import SupportedPoints, Watch
from geoflow.models.tapip3d.templates import Carried

# Is given a first frame, positions (F, N, 3) and logits (F, N) in it and those after it; returns queries there (M, 4).
More = Callable[[int, np.ndarray, np.ndarray], np.ndarray]

# Neighbours compared at once, over all frames of a window: what a CPU's caches hold, and what keeps a GPU busy.
_TOKENS = {"cpu": 1 << 12}
_TOKENS_ELSEWHERE = 1 << 15


def track_windows(
    network: TrackerNetwork,
    clip: Clip,
    queries: np.ndarray,
    *,
    iterations: int = 6,
    depth_range: tuple[float, float] | None = None,
    tokens: int | None = None,
    watch: Watch | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return world positions (T, N, 3) and visibility logits (T, N), float32, of queries (N, 4).

    A query is a frame number and a world position. It takes part in windows that end after its frame; in frames of no
    such window it keeps its position, with the logit 0. A clip of half a window or less has no windows at all. Depth
    outside of `depth_range` does not count in the normalisation. `tokens` bounds memory and does not change the result.
    """
    run = WindowRun(network, clip, queries, iterations, depth_range, tokens, watch)
    run.go()
    return run.positions(), run.beliefs()


def _nobody(name: str, value: object) -> None:
    """Watch nothing."""


def asked_frames(length: int, seq_len: int) -> range:
    """Return the frames of a clip for which `WindowRun.go` asks for more points: all after half a window."""
    return range(seq_len // 2, length) if length > seq_len // 2 else range(0)


class WindowRun:
    """One pass over a clip. `queries` may be more afterwards than were given.

    Points that are carried on take part from the first window on, with the positions that they are known by. Windows
    that lie in the K frames where they are known do not change them: the earlier clip has seen those with more before.
    """

    def __init__(
        self,
        network: TrackerNetwork,
        clip: Clip,
        queries: np.ndarray,
        iterations: int,
        depth_range: tuple[float, float] | None,
        tokens: int | None = None,
        watch: Watch | None = None,
        carried: Carried | None = None,
    ) -> None:
        self.network, self.config = network, network.config
        _check_size(self.config, clip.size)
        self.iterations, self.watch = iterations, watch or _nobody
        self.length = len(clip)
        self.clip = clip.extended(self.config.seq_len // 2)
        self.device = next(network.parameters()).device
        self.tokens = _TOKENS.get(self.device.type, _TOKENS_ELSEWHERE) if tokens is None else tokens
        self.frames = WindowFrames(network, self.clip, depth_range)
        self.queries = SupportedPoints(self.config, queries, carried, self.device)
        total = len(self.clip)
        self.coords = self.queries.points.expand(total, -1, -1).clone()
        self.logits = torch.zeros(total, len(self.queries), device=self.device)
        self.known = 0  # frames in which carried points are known
        if carried is not None and len(carried):
            self._lay(carried)
        self.supported = 0  # frames up to which support is known

    def _lay(self, carried: Carried) -> None:
        """Put carried points where they are known, and where they were last from there on."""
        self.known = min(len(carried.positions), self.length)
        rows = torch.arange(len(self.clip)).clamp(max=self.known - 1)
        for held, values in ((self.coords, carried.positions), (self.logits, carried.logits)):
            tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
            held[:, : len(carried)] = tensor[rows].to(self.device)

    def positions(self) -> np.ndarray:
        """Return positions (T, N, 3) float32, world."""
        return self.coords[: self.length].cpu().numpy()

    def beliefs(self) -> np.ndarray:
        """Return logits (T, N) float32 of being visible."""
        return self.logits[: self.length].cpu().numpy()

    def go(self, more: More | None = None) -> None:
        """Go through all windows.

        `more` is asked after each window for points to follow besides, in the window's second half. The next window has
        these frames, too; the last window is gone through again for them, and nothing but them is changed then.
        """
        half, length = self.config.seq_len // 2, self.config.seq_len
        last = len(self.clip) - length
        for start in range(0, last + 1, half):
            self.window(start)
            count = len(self.queries)
            if more is not None and self._take_up(more, start) and start == last:
                self.window(start, first_changed=count)

    def _take_up(self, more: More, start: int) -> bool:
        """Ask for more points in the second half of a window, and return whether there are any."""
        first, stop = start + self.config.seq_len // 2, min(start + self.config.seq_len, self.length)
        positions, logits = (values[first:stop].cpu().numpy() for values in (self.coords, self.logits))
        if first >= stop or not len(wanted := more(first, positions, logits)):
            return False
        points = self.queries.add(wanted)
        self.coords = torch.cat((self.coords, points.expand(len(self.clip), -1, -1)), dim=1)
        self.logits = torch.cat((self.logits, self.logits.new_zeros(len(self.clip), len(points))), dim=1)
        for frame, maps in enumerate(self.frames.slide(start, start + self.config.seq_len), start):
            if first <= frame < stop:
                self.queries.find_support(frame, maps, self.clip, self.watch)
        return True

    def window(self, start: int, first_changed: int = 0) -> None:
        """Refine the points in frames [start, start + S); those before `first_changed` only keep the others company."""
        length = self.config.seq_len
        half, stop = length // 2, start + length
        maps = self.frames.slide(start, stop)
        for frame in range(max(self.supported, start), stop):
            self.queries.find_support(frame, maps[frame - start], self.clip, self.watch)
        self.supported = stop
        taking_part = torch.nonzero(self.queries.frames < stop)[:, 0]
        mean, deviation = normalisation(maps)
        self.watch("window", (start, stop, mean, deviation, taking_part))
        if not len(taking_part):
            return
        fresh = self.queries.frames[taking_part] >= start + half
        coords, logits = self._first_state(start, taking_part, fresh)
        space = _Space(mean, deviation, self.device)
        support = self._support_in(space, taking_part)
        window = _Window(self, start, maps, space, support)
        coords = space.enter(coords)
        self.watch("maps", maps)
        self.watch("space", space)
        self.watch("first_state", (coords, logits))
        for iteration in range(self.iterations):
            coords, logits = window.refine(coords, logits)
            self.watch("iteration", (start, iteration, taking_part, coords, space.leave(coords), logits))
        if first_changed or stop <= self.known:
            changed = taking_part >= first_changed
            changed &= ~self.queries.carried[taking_part] if stop <= self.known else True
            taking_part, coords, logits = taking_part[changed], coords[:, changed], logits[:, changed]
        self.coords[start:stop, taking_part] = space.leave(coords)
        self.logits[start:stop, taking_part] = logits

    def _first_state(self, start: int, taking_part: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
        """What is known of the first half, and its last frame repeated; fresh queries stand still, logit 0.

        It is known from the window before, or, in the first frames, of carried points from an earlier clip.
        """
        half, carried = self.config.seq_len // 2, self.queries.carried[taking_part]
        last = torch.full_like(taking_part, start + half - 1)
        last[carried] = max(start + half, self.known) - 1
        frames = torch.arange(start, start + 2 * half, device=self.device)
        rows = torch.minimum(frames[:, None], last)
        coords, logits = self.coords[rows, taking_part], self.logits[rows, taking_part]
        if start == 0:
            fresh = ~carried
        coords = torch.where(fresh[:, None], self.queries.points[taking_part], coords)
        return coords, torch.where(fresh, torch.zeros_like(logits), logits)

    def _support_in(self, space: _Space, taking_part: Tensor) -> list[Tensor]:
        """Return the support of the points, (N, k + 1, C) for each level."""
        found = []
        for level in range(self.config.corr_levels):
            points = space.enter(self.queries.support_points[level][taking_part])
            features = self.queries.support_features[level][taking_part]
            offsets = points - points[:, :1]
            self.watch("support_tokens", (level, features, offsets))
            found.append(self.network.corr_processor.support(level, features, offsets))
        return found


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

    def __init__(self, run: WindowRun, start: int, maps: list[FrameMaps], space: _Space, support: list[Tensor]) -> None:
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
                self.run.network.corr_processor(level, support[chunk], torch.stack(content), torch.stack(offsets))
            )
        return torch.cat(answers, dim=-1)


def _check_size(config: TrackerConfig, size: tuple[int, int]) -> None:
    height, width = level_sizes(*size, config.corr_levels)[-1]
    if height * width < (needed := config.corr_feature.k_neighbors):
        raise ConfigError(
            f"frames of {size[1]}x{size[0]} px are too small for the tracker: its coarsest level would have "
            f"{height * width} points, and {needed} neighbours are compared; choose a larger resolution_factor"
        )
