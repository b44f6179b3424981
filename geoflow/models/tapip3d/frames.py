"""What the tracker keeps of the frames of a window: points and features on all levels, and statistics of the points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoflow.models.tapip3d.clip import Clip
from geoflow.models.tapip3d.network import TrackerNetwork
from geoflow.models.tapip3d.pyramid import halve, level_sizes, pick_points
from geoflow.models.tapip3d.rays import unproject_maps


@dataclass(frozen=True)
class FrameMaps:
    """One frame: per level points (P, 3) in the world, feature maps (C, h, w) and the tokens' content (P, D)."""

    points: list[Tensor]
    features: list[Tensor]
    content: list[Tensor]
    count: int  # valid pixels of the frame
    sums: np.ndarray  # (3,) float64, of their points
    squares: np.ndarray  # (3,) float64


class WindowFrames:
    """Frames of a sliding window. Each is encoded once, and dropped when the window has passed it."""

    def __init__(self, network: TrackerNetwork, clip: Clip, depth_range: tuple[float, float] | None) -> None:
        self._network, self._clip, self._range = network, clip, depth_range
        self._device = next(network.parameters()).device
        self._held: dict[int, FrameMaps] = {}

    def slide(self, start: int, stop: int) -> list[FrameMaps]:
        """Return the frames [start, stop); earlier ones are forgotten."""
        self._held = {frame: maps for frame, maps in self._held.items() if frame >= start}
        missing = [frame for frame in range(start, stop) if frame not in self._held]
        for k, frame in enumerate(missing):
            last = missing[k - 1] if k else None
            if last is not None and self._clip.order[last] == self._clip.order[frame]:
                self._held[frame] = self._held[last]  # the last frame, repeated
            else:
                self._held[frame] = self._maps(frame)
        return [self._held[frame] for frame in range(start, stop)]

    def _maps(self, frame: int) -> FrameMaps:
        source = self._clip.order[frame]
        intrinsics, pose = self._clip.cameras(frame, frame + 1, self._device)
        depth = torch.from_numpy(np.ascontiguousarray(self._clip.depth[source], dtype=np.float32)).to(self._device)
        points = unproject_maps(depth[None], intrinsics, pose)[0]
        rgb = torch.from_numpy(np.ascontiguousarray(self._clip.rgb[source])).to(self._device)
        features = self._network.encoder(rgb.movedim(-1, 0)[None].float() / 255).float()
        levels, feature_maps = [], []
        height, width = depth.shape
        for size in level_sizes(height, width, self._network.config.corr_levels):
            levels.append(pick_points(points, size).flatten(0, 1))
            feature_maps.append(features[0])
            features = halve(features) if min(size) > 1 else features
        content = [self._network.corr_processor.content(maps.flatten(1).mT) for maps in feature_maps]
        return FrameMaps(levels, feature_maps, content, *self._statistics(points, depth))

    def _statistics(self, points: Tensor, depth: Tensor) -> tuple[int, np.ndarray, np.ndarray]:
        valid = depth > 0
        if self._range is not None:
            valid &= (depth >= self._range[0]) & (depth <= self._range[1])
        chosen = points[valid].double()
        return len(chosen), chosen.sum(0).cpu().numpy(), chosen.square().sum(0).cpu().numpy()


def normalisation(frames: list[FrameMaps]) -> tuple[np.ndarray, float]:
    """Return the mean (3,) and the standard deviation, one for all axes, of the points of a window; float64.

    A window without any valid point has the mean 0 and the deviation 1.
    """
    count = sum(maps.count for maps in frames)
    if not count:
        return np.zeros(3), 1.0
    mean = np.sum([maps.sums for maps in frames], axis=0) / count
    variance = float((np.sum([maps.squares for maps in frames], axis=0) / count - mean**2).mean())
    return mean, max(variance, 0.0) ** 0.5 or 1.0
