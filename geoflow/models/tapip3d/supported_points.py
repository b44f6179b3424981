"""Points to follow, and what is around each of them in the frame of its query: its support."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from geoflow.models.tapip3d.clip import Clip
from geoflow.models.tapip3d.config import TrackerConfig
from geoflow.models.tapip3d.frames import FrameMaps
from geoflow.models.tapip3d.neighbours import nearest
from geoflow.models.tapip3d.pyramid import sample
from geoflow.models.tapip3d.rays import project
from geoflow.models.tapip3d.templates import Carried, Templates

Watch = Callable[[str, object], None]  # is handed inner quantities by name; for comparisons with the original
CARRIED = -1  # frame of a query that an earlier clip found


class SupportedPoints:
    """N points: `frames` (N,), `points` (N, 3) in the world, and per level their support, as far as it is known."""

    def __init__(
        self, config: TrackerConfig, values: np.ndarray, carried: Carried | None, device: torch.device
    ) -> None:
        """Points that are carried on come first; `values` (M, 4) are frames and positions of the others."""
        self.config, self.device = config, device
        self.neighbours, levels = config.corr_feature.k_neighbors, range(config.corr_levels)
        self.frames = torch.zeros(0, dtype=torch.long, device=device)
        self.points = torch.zeros(0, 3, device=device)
        self.support_points = [torch.zeros(0, self.neighbours + 1, 3, device=device) for _ in levels]
        self.support_features = [torch.zeros(0, self.neighbours + 1, config.feature_dim, device=device) for _ in levels]
        if carried is not None and len(carried):
            self._carry(carried.templates)
        self.add(values)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def carried(self) -> Tensor:
        """Which points an earlier clip found (N,) bool."""
        return self.frames == CARRIED

    def add(self, values: np.ndarray) -> Tensor:
        """Take up queries (M, 4), a frame and a position each, whose support is not known yet; return positions."""
        tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)
        count, k = len(tensor), self.neighbours + 1
        self.frames = torch.cat((self.frames, tensor[:, 0].round().long()))
        self.points = torch.cat((self.points, tensor[:, 1:]))
        for level in range(self.config.corr_levels):
            points, features = self.support_points[level], self.support_features[level]
            self.support_points[level] = torch.cat((points, points.new_zeros(count, k, 3)))
            self.support_features[level] = torch.cat((features, features.new_zeros(count, k, features.shape[2])))
        return tensor[:, 1:]

    def _carry(self, templates: Templates) -> None:
        points = torch.from_numpy(np.ascontiguousarray(templates.points)).to(self.device)
        features = torch.from_numpy(np.ascontiguousarray(templates.features)).to(self.device).float()
        self.frames = torch.full((len(templates),), CARRIED, dtype=torch.long, device=self.device)
        self.points = points[:, 0, 0]
        self.support_points = list(points.unbind(1))
        self.support_features = list(features.unbind(1))

    def find_support(self, frame: int, maps: FrameMaps, clip: Clip, watch: Watch) -> None:
        """The k nearest points of the query's own frame, in the world, and its own feature before theirs."""
        index = torch.nonzero(self.frames == frame)[:, 0]
        if not len(index):
            return
        points = self.points[index]
        intrinsics, pose = clip.cameras(frame, frame + 1, self.device)
        height, width = clip.size
        pixels = project(points[None], intrinsics, pose, clip.size)[0, :, :2]
        for level, (cloud, features) in enumerate(zip(maps.points, maps.features)):
            _, nearby = nearest(cloud, points, self.neighbours)
            watch("support", (frame, level, index, nearby))
            scale = torch.tensor([features.shape[2] / width, features.shape[1] / height], device=self.device)
            own = sample(features[None], torch.zeros(len(index), device=self.device), pixels * scale)
            around = features.flatten(1).mT[nearby]
            self.support_points[level][index] = torch.cat((points[:, None], cloud[nearby]), dim=1)
            self.support_features[level][index] = torch.cat((own[:, None], around), dim=1)

    def templates(self) -> Templates:
        """Return what the next clip needs of all points."""
        points, features = (torch.stack(parts, 1).cpu() for parts in (self.support_points, self.support_features))
        return Templates.rounded(points.numpy(), features.float().numpy())
