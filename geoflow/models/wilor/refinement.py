"""The second look: maps of finer resolution, read at the vertices of the first estimate, correct it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.wilor.backbone import Numbers
from geoflow.models.wilor.config import CAMERA, JOINTS, SHAPES, TRAINING_FOCAL
from geoflow.models.wilor.projection import projected


def _doubling(channels: int, out: int) -> list[nn.Module]:
    convolution = nn.ConvTranspose2d(channels, out, 4, 2, 1, bias=False)
    return [convolution, nn.BatchNorm2d(out, eps=1e-5), nn.ReLU()]


class FinerMaps(nn.Module):
    """Features at 4, 2 and 1 times their resolution; both finer maps are made from the coarse map itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half, quarter, eighth = width // 2, width // 4, width // 8
        self.first_conv = nn.Sequential(nn.Conv2d(width, half, 1))
        twice = nn.Sequential(*_doubling(half, quarter))
        four_times = nn.Sequential(*_doubling(half, quarter), *_doubling(quarter, eighth))
        self.deconv = nn.ModuleList([twice, four_times])

    def forward(self, features: Tensor) -> list[Tensor]:
        """Return (N, width/8, 64, 48), (N, width/4, 32, 24) and (N, width/2, 16, 12), finest first."""
        coarse = self.first_conv(features)
        return [self.deconv[1](coarse), self.deconv[0](coarse), coarse]


class Refinement(nn.Module):
    """Features and the first estimate to what has to be added to it."""

    def __init__(self, width: int, rows: int) -> None:
        super().__init__()
        self.sizes = (4 * rows, 2 * rows, rows)  # rows of the three maps, finest first
        self.deconv = FinerMaps(width)
        channels = width // 8 + width // 4 + width // 2
        self.dec_pose = nn.Linear(channels, JOINTS * 6)
        self.dec_cam = nn.Linear(channels, CAMERA)
        self.dec_shape = nn.Linear(channels, SHAPES)

    def forward(self, features: Tensor, vertices: Tensor, first: Numbers) -> Numbers:
        """Return the refined numbers of features (N, width, 16, 12) and vertices (N, V, 3) in metres.

        The maps are read near their first corner only (`map_positions`), so no more of them than that is made.
        """
        positions = self.positions(vertices, first.camera)
        reach = max(float(one.amax()) for one in positions) if len(features) else 0.0
        # The last pixel that is read. Its value in a finer map comes from pixels that are no further from the corner.
        count = max(int(min(max(reach, 0), features.shape[2])) + 2, 2) if reach == reach else features.shape[2]
        seen = self.vertex_features(self.deconv(features[:, :, :count, :count]), positions)
        return Numbers(
            first.pose + self.dec_pose(seen),
            first.betas + self.dec_shape(seen),
            first.camera + self.dec_cam(seen),
        )

    def positions(self, vertices: Tensor, camera: Tensor) -> list[Tensor]:
        """Return where each map is read, finest first: (N, V, 2) each."""
        return [map_positions(vertices, camera, size) for size in self.sizes]

    def vertex_features(self, maps: list[Tensor], positions: list[Tensor]) -> Tensor:
        """Return (N, channels of all maps): of each channel the largest value at any vertex."""
        return torch.cat([_sampled(one, where).amax(-1) for one, where in zip(maps, positions)], dim=1)


def map_positions(vertices: Tensor, camera: Tensor, size: int) -> Tensor:
    """Return where a map of `size` rows is read for vertices (N, V, 3): (N, V, 2).

    These are positions in parts of the crop from its centre, about -0.5..0.5. They are read as if they were pixels, so
    that the maps are seen near their first corner only. The trained weights expect it.
    """
    return projected(vertices, camera, TRAINING_FOCAL, size)


def _sampled(features: Tensor, positions: Tensor) -> Tensor:
    """Return features (N, C, H, W) at pixel positions (N, V, 2), zero outside: (N, C, V)."""
    height, width = features.shape[2:]
    size = positions.new_tensor((width - 1, height - 1))
    grid = (positions / size * 2 - 1)[:, :, None]
    return F.grid_sample(features, grid, align_corners=True)[..., 0]
