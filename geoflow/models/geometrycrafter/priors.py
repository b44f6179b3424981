"""The networks' inputs from a per-frame prior: disparity, mask, log depth and a field of view.

Point maps are (N, H, W, 3) float32 (x right, y down, z forward) at any one scale per video, masks (N, H, W) bool.
There are two passes: a survey of the whole video gives its scale and its range of disparity; then each frame is mapped.

At invalid pixels z may be anything. Where it is not finite or not positive there, the pixel is replaced by one on the
pinhole camera that fits the frame best; otherwise invalid pixels count as the networks were trained with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geoflow.geometry.cameras import USUAL_FOCAL
from geoflow.models.geometrycrafter.prior_statistics import MIN_DEPTH, PriorStatistics, disparity_ranks, statistics_of
from geoflow.models.geometrycrafter.resizing import Size, bilinear, log_bilinear

_TINY = 1e-7


class PriorSurvey:
    """Collects a video's statistics from its frames, some at a time; a few numbers per frame stay on the device."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []  # (N, 5) float64: sum of z, valid pixels, z at both ranks, wrong pixels
        self._pixels = 0

    def add(self, points: Tensor, mask: Tensor) -> None:
        """Take in frames: points (N, H, W, 3), mask (N, H, W)."""
        z = points[..., 2]
        self._pixels = z[0].numel()
        wrong = (mask & ~_usable(points)).flatten(1).sum(1)
        # Disparity falls with z and is 0 where invalid, that is at infinity: its ranks are those of z, upside down.
        far = torch.where(mask, z, torch.inf).nan_to_num_(nan=torch.inf, posinf=torch.inf).flatten(1)
        at_ranks = [far.kthvalue(self._pixels - rank, dim=1).values for rank in disparity_ranks(self._pixels)]
        total = torch.where(mask, z, 0).flatten(1).sum(1, dtype=torch.float64)
        row = (total, mask.flatten(1).sum(1), *at_ranks, wrong)
        self._rows.append(torch.stack([part.double() for part in row], dim=1))

    def finish(self) -> PriorStatistics:
        """Statistics of all frames.

        Raises InputError when a valid pixel is not finite or not in front of the camera.
        """
        return statistics_of(torch.cat(self._rows).cpu().numpy(), self._pixels)


@dataclass(frozen=True)
class PriorMaps:
    """The prior of some frames as the encoders see it."""

    disparity: Tensor  # (N, 1, H, W), -1..1
    mask: Tensor  # (N, 1, H, W), -1 invalid, 1 valid; in between after resizing
    log_depth: Tensor  # (N, 1, H, W), 0 at the video's mean and where invalid
    intrinsics: Tensor  # (N, 4): principal point and tangents of half the field of view, x and y each

    @property
    def diagonal(self) -> Tensor:
        """Tangent of half the diagonal field of view, (N,): all that the networks see of the intrinsics."""
        return self.intrinsics[:, 2:].norm(dim=1)

    def resized(self, size: Size) -> PriorMaps:
        """Return the maps at the networks' size."""
        return PriorMaps(
            bilinear(self.disparity, size),
            bilinear(self.mask, size),
            log_bilinear(self.log_depth, size),
            self.intrinsics,
        )


def prior_maps(points: Tensor, mask: Tensor, statistics: PriorStatistics) -> PriorMaps:
    """Maps of frames: points (N, H, W, 3), mask (N, H, W)."""
    points = points / statistics.scale
    z = torch.where(mask, points[..., 2], 1)
    disparity = torch.where(mask, 1 / z.clamp(min=MIN_DEPTH), 0)
    spread = statistics.high - statistics.low + 1e-4
    return PriorMaps(
        (((disparity - statistics.low) / spread).clamp_(0, 1) * 2 - 1)[:, None],
        (mask.float() * 2 - 1)[:, None],
        torch.log(z + _TINY).where(mask, torch.zeros_like(z))[:, None],
        estimate_intrinsics(rays(points, mask)),
    )


def rays(points: Tensor, mask: Tensor) -> Tensor:
    """x / z and y / z of every pixel, (N, 2, H, W), those of invalid pixels included."""
    usable = _usable(points)[:, None]
    xy = points[..., :2] / (points[..., 2:] + _TINY)
    xy = torch.where(usable, xy.permute(0, 3, 1, 2), 0)
    none_valid = ~mask.flatten(1).any(1)[:, None, None, None]
    return torch.where(usable, xy, _pinhole_rays(xy, usable & (mask[:, None] | none_valid)))


def estimate_intrinsics(xy: Tensor) -> Tensor:
    """Principal point and tangents of half the field of view from rays (N, 2, H, W): (N, 4), x before y.

    Tangents reach to the centres of the outermost pixels. A middle column or row, where the grid is 0, says nothing
    of them and is left out.
    """
    centre = xy.mean((2, 3))
    off = xy - centre[:, :, None, None]
    tangents = []
    for axis, grid in enumerate(grids(xy.shape[2], xy.shape[3], xy.device)):
        inverse = torch.where(grid == 0, torch.zeros_like(grid), 1 / grid)
        used = (grid != 0).sum().clamp(min=1) * (xy.shape[2 + axis])
        tangents.append((off[:, axis] * inverse).sum((1, 2)) / used)
    return torch.cat([centre, torch.stack(tangents, dim=1)], dim=1)


def grids(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Coordinates from -1 at the first to 1 at the last pixel centre, of columns (1, W) and rows (H, 1)."""

    def along(count: int) -> Tensor:
        return (2 * torch.arange(count, device=device, dtype=torch.float32) - (count - 1)) / max(count - 1, 1)

    return along(width)[None], along(height)[:, None]


def _usable(points: Tensor) -> Tensor:
    """Return where a point is finite and in front of the camera: (N, H, W)."""
    return torch.isfinite(points).all(-1) & (points[..., 2] > 0)


def _pinhole_rays(xy: Tensor, seen: Tensor) -> Tensor:
    """Rays (N, 2, H, W) of the pinhole camera that fits those `seen` (N, 1, H, W) best, in the sense of least squares.

    Where they are too few to tell, a camera of a usual field of view.
    """
    height, width = xy.shape[2:]
    weight = seen[:, 0].float()
    count = weight.sum((1, 2)).clamp(min=1)
    fitted = []
    for axis, grid in enumerate(grids(height, width, xy.device)):
        usual = ((width, height)[axis] - 1) / (2 * USUAL_FOCAL * max(height, width))
        ray, grid = xy[:, axis], grid.expand(height, width)
        ray_mean, grid_mean = ((weight * part).sum((1, 2)) / count for part in (ray, grid))
        off = weight * (grid - grid_mean[:, None, None])
        spread = (off * grid).sum((1, 2))
        enough = spread > 1e-3
        slope = torch.where(enough, (off * ray).sum((1, 2)) / spread.clamp(min=1e-3), usual)
        start = torch.where(enough, ray_mean - slope * grid_mean, 0)
        fitted.append(start[:, None, None] + slope[:, None, None] * grid)
    return torch.stack(fitted, dim=1)
