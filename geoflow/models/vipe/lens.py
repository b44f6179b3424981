"""Pinhole and wide-angle cameras with their Jacobians, on points in rows of P.

Intrinsics (N, 4) fx, fy, cx, cy are a pinhole camera. A fifth number k makes it the unified model (Mei and Rives 2007):
uv = f (x, y) / (z + k |p|) + c. The focal length is one unknown: it is added to fx and fy alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_RATIO = 0.1  # of depths; a point that comes closer is projected as if its depth were 1


def grid(height: int, width: int, like: Tensor) -> Tensor:
    """Return pixels (2, h, w): x, y."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=like.dtype, device=like.device),
        torch.arange(width, dtype=like.dtype, device=like.device),
        indexing="ij",
    )
    return torch.stack((x, y))


def scaled(intrinsics: Tensor, factor: float) -> Tensor:
    """Return intrinsics of a picture that is `factor` as large; k stays."""
    return torch.cat((intrinsics[..., :4] * factor, intrinsics[..., 4:]), -1)


def pinhole(intrinsics: Tensor) -> Tensor:
    """Return (..., 4): the pinhole camera that agrees with a camera at its principal point."""
    focal = intrinsics[..., :2] if intrinsics.shape[-1] == 4 else intrinsics[..., :2] / (1 + intrinsics[..., 4:])
    return torch.cat((focal, intrinsics[..., 2:4]), -1)


def unproject(uv: Tensor, intrinsics: Tensor) -> Tensor:
    """Return rays (N, 3, P), z = 1, of pixels uv (N or 1, 2, P)."""
    x, y, stretch = _undistorted(uv, intrinsics)
    rays = torch.stack((x * stretch, y * stretch, torch.ones_like(x)), 1)
    return rays


def unproject_jacobian(uv: Tensor, intrinsics: Tensor) -> Tensor:
    """Return the derivative (N, 2, 1 or 2, P) of the rays' x and y by the focal length, and by k."""
    x, y, stretch = _undistorted(uv, intrinsics)
    fx, fy = intrinsics[:, 0:1], intrinsics[:, 1:2]
    if intrinsics.shape[1] == 4:
        return torch.stack((-x / fx, -y / fy), 1)[:, :, None]
    k = intrinsics[:, 4:5]
    square = x * x + y * y
    root = torch.sqrt(1 + (1 - k * k) * square)
    factor = (k + root) / (1 + square)
    by_factor = -k / (factor - k) ** 2
    factor_by_square = ((1 - k * k) / (2 * root) * (1 + square) - (k + root)) / (1 + square) ** 2
    along = -(stretch + 2 * square * by_factor * factor_by_square) / fx  # as if fx and fy were the same
    factor_by_k = (1 - k * square / root) / (1 + square)
    stretch_by_k = by_factor * factor_by_k + factor / (factor - k) ** 2
    by = torch.stack((along, stretch_by_k), 1)  # (N, 2, P)
    return torch.stack((x, y), 1)[:, :, None] * by[:, None]


def _undistorted(uv: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return pixels over the focal length, and what makes rays of z = 1 of them."""
    fx, fy, cx, cy = (intrinsics[:, i : i + 1] for i in range(4))
    x, y = (uv[:, 0] - cx) / fx, (uv[:, 1] - cy) / fy
    if intrinsics.shape[1] == 4:
        return x, y, torch.ones_like(x)
    k = intrinsics[:, 4:5]
    square = x * x + y * y
    factor = (k + torch.sqrt(1 + (1 - k * k) * square)) / (1 + square)
    return x, y, factor / (factor - k)


def project(points: Tensor, intrinsics: Tensor, least: float = LEAST_RATIO) -> Tensor:
    """Return pixels (N, 2, P) of points (N, 3, P)."""
    x, y, _, base, _ = _based(points, intrinsics, least)
    fx, fy, cx, cy = (intrinsics[:, i : i + 1] for i in range(4))
    return torch.stack((fx * (x / base) + cx, fy * (y / base) + cy), 1)


def project_jacobian(points: Tensor, intrinsics: Tensor, least: float = LEAST_RATIO) -> Tensor:
    """Return the derivative (N, 2, 3, P) of pixels by their points."""
    x, y, z, base, length = _based(points, intrinsics, least)
    over = base.reciprocal()
    zero = torch.zeros_like(x)
    if length is None:
        rows = ((over, zero, -x * over * over), (zero, over, -y * over * over))
    else:
        pull = intrinsics[:, 4:5] * over * over / length
        by_depth = -(over * over) * (1 + intrinsics[:, 4:5] * z / length)
        rows = (
            (over - pull * x * x, -pull * x * y, x * by_depth),
            (-pull * x * y, over - pull * y * y, y * by_depth),
        )
    return torch.stack([torch.stack(row, 1) for row in rows], 1) * intrinsics[:, :2, None, None]


def project_lens_jacobian(points: Tensor, intrinsics: Tensor, least: float = LEAST_RATIO) -> Tensor:
    """Return the derivative (N, 2, 1 or 2, P) of pixels by the focal length, and by k."""
    x, y, _, base, length = _based(points, intrinsics, least)
    plane = torch.stack((x / base, y / base), 1)
    if length is None:
        return plane[:, :, None]
    by_k = -intrinsics[:, :2, None] * plane * (length / base)[:, None]
    return torch.stack((plane, by_k), 2)


def _based(points: Tensor, intrinsics: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Return x, y, z, what they are divided by, and the points' length where that matters."""
    x, y, z = points.unbind(1)
    z = torch.where(z < least, torch.ones_like(z), z)
    if intrinsics.shape[1] == 4:
        return x, y, z, z, None
    length = torch.sqrt(x * x + y * y + z * z)
    return x, y, z, z + intrinsics[:, 4:5] * length, length
