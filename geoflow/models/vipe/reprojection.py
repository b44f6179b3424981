"""Where the pixels of one keyframe lie in another, and how that changes with poses, disparities and lenses.

A pixel with disparity d is the point (X, Y, 1, d): the third coordinate after a motion is a ratio of depths.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geoflow.models.vipe import lens, se3


@dataclass(frozen=True)
class Edges:
    """E pairs of pictures: keyframe and view of the source and of the target, and the source's disparity map.

    A view's place in the rig maps it to the first view. With one view, all views are 0.
    """

    pose_i: Tensor  # (E,) int64, as all
    pose_j: Tensor
    view_i: Tensor
    view_j: Tensor
    disp_i: Tensor

    @classmethod
    def single(cls, ii: Tensor, jj: Tensor) -> Edges:
        """Return pairs of keyframes with one view each."""
        zero = torch.zeros_like(ii)
        return cls(ii, jj, zero, zero, ii)

    def __len__(self) -> int:
        return len(self.pose_i)

    def of(self, chosen: Tensor) -> Edges:
        """Return some of the pairs, by mask or by number."""
        parts = (self.pose_i, self.pose_j, self.view_i, self.view_j, self.disp_i)
        return Edges(*(part[chosen] for part in parts))

    def to(self, device: torch.device) -> Edges:
        """Return the pairs on a device."""
        return Edges(*(part.to(device) for part in (self.pose_i, self.pose_j, self.view_i, self.view_j, self.disp_i)))


@dataclass(frozen=True)
class Geometry:
    """What pixels are projected with."""

    poses: Tensor  # (N, 7) keyframe from world
    disps: Tensor  # (D, h, w)
    lenses: Tensor  # (V, 4 or 5) of the grid
    rig: Tensor | None = None  # (V, 7) first view from view


@dataclass(frozen=True)
class Linear:
    """Positions in the target and their derivatives, pixels in rows of P.

    The derivative by the source's pose is that by the target's times `-between`; those by the rig are the negatives.
    """

    coords: Tensor  # (E, 2, P)
    valid: Tensor  # (E, P) bool: far enough before the target
    by_target: Tensor  # (E, 6, 2, P)
    between: Tensor  # (E, 6, 6) adjoint of the motion from source to target
    by_disp: Tensor  # (E, 2, P)
    by_lens_i: Tensor | None = None  # (E, 2, 1 or 2, P): the source's lens
    by_lens_j: Tensor | None = None


def _transform(geometry: Geometry, edges: Edges) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the motions (E, 7) of pixels from source to target, of their keyframes, and into the target's view."""
    moved = se3.multiply(geometry.poses[edges.pose_j], se3.invert(geometry.poses[edges.pose_i]))
    if geometry.rig is None:
        return moved, moved, None
    enter = se3.invert(geometry.rig[edges.view_j])
    return se3.multiply(se3.multiply(enter, moved), geometry.rig[edges.view_i]), moved, enter


def _pixels(disps: Tensor) -> Tensor:
    return lens.grid(disps.shape[1], disps.shape[2], disps).flatten(1)[None]


def move(rays: Tensor, disps: Tensor, motion: Tensor) -> Tensor:
    """Return points (E, 3, P) in the target of rays (E, 3, P) with disparities (E, P)."""
    return se3.rotation(motion) @ rays + motion[:, :3, None] * disps[:, None]


def reproject(geometry: Geometry, edges: Edges) -> tuple[Tensor, Tensor]:
    """Return where the source's pixels lie in the target, (E, 2, h, w), and which are far enough before it."""
    height, width = geometry.disps.shape[1:]
    motion, _, _ = _transform(geometry, edges)
    disps = geometry.disps[edges.disp_i].flatten(1)
    points = move(lens.unproject(_pixels(geometry.disps), geometry.lenses[edges.view_i]), disps, motion)
    coords = lens.project(points, geometry.lenses[edges.view_j])
    return coords.unflatten(-1, (height, width)), (points[:, 2] > lens.LEAST_RATIO).unflatten(-1, (height, width))


def linearize(geometry: Geometry, edges: Edges, *, with_lens: bool = False, least: float = lens.LEAST_RATIO) -> Linear:
    """Return the positions with their derivatives. A point with a ratio of depths up to `least` is not valid."""
    motion, between, enter = _transform(geometry, edges)
    from_lens, into_lens = geometry.lenses[edges.view_i], geometry.lenses[edges.view_j]
    pixels, disps = _pixels(geometry.disps), geometry.disps[edges.disp_i].flatten(1)
    points = move(lens.unproject(pixels, from_lens), disps, motion)
    slope = lens.project_jacobian(points, into_lens)  # (E, 2, 3, P)
    a, b, c = slope.unbind(2)
    x, y, z = (row[:, None] for row in points.unbind(1))
    depth = disps[:, None]
    by_target = torch.stack((depth * a, depth * b, depth * c, y * c - z * b, z * a - x * c, x * b - y * a), 1)
    if enter is not None:
        turned = se3.adjoint(enter).mT @ by_target.flatten(2)
        by_target = turned.unflatten(2, by_target.shape[2:])
    by_disp = torch.einsum("ecxp,ex->ecp", slope, motion[:, :3])
    by_lens_i = by_lens_j = None
    if with_lens:
        by_ray = torch.einsum("ecxp,exr->ecrp", slope, se3.rotation(motion)[:, :, :2])
        by_lens_i = torch.einsum("ecrp,erfp->ecfp", by_ray, lens.unproject_jacobian(pixels, from_lens))
        by_lens_j = lens.project_lens_jacobian(points, into_lens)
    return Linear(
        lens.project(points, into_lens),
        points[:, 2] > least,
        by_target,
        se3.adjoint(between),
        by_disp,
        by_lens_i,
        by_lens_j,
    )
