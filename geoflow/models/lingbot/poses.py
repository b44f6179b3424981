"""The pose encoding: (..., 9) = camera centre, quaternion x y z w, vertical and horizontal field of view in radians.

The first seven are world from camera. Works on float32 and float64 tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotation_of(quaternion: Tensor) -> Tensor:
    """Return rotations (..., 3, 3) of quaternions (..., 4) x y z w, which need not be of unit length."""
    x, y, z, w = quaternion.unbind(-1)
    twice = 2 / quaternion.square().sum(-1)
    rows = (
        (1 - twice * (y * y + z * z), twice * (x * y - z * w), twice * (x * z + y * w)),
        (twice * (x * y + z * w), 1 - twice * (x * x + z * z), twice * (y * z - x * w)),
        (twice * (x * z - y * w), twice * (y * z + x * w), 1 - twice * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def quaternion_of(rotation: Tensor) -> Tensor:
    """Return unit quaternions (..., 4) x y z w, w >= 0, of rotations (..., 3, 3).

    4 q q^T follows from the matrix; its row with the largest diagonal is the quaternion times that component.
    """
    m = rotation
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    xw, yw, zw = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    rows = (
        (1 + xx - yy - zz, xy, xz, xw),
        (xy, 1 - xx + yy - zz, yz, yw),
        (xz, yz, 1 - xx - yy + zz, zw),
        (xw, yw, zw, 1 + xx + yy + zz),
    )
    products = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    largest = products.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = products.take_along_dim(largest[..., None, None].expand(*largest.shape, 1, 4), dim=-2)[..., 0, :]
    unit = row / row.norm(dim=-1, keepdim=True)
    return torch.where(unit[..., 3:] < 0, -unit, unit)


def world_from_cam(encoding: Tensor) -> Tensor:
    """Return (..., 3, 4)."""
    return torch.cat((rotation_of(encoding[..., 3:7]), encoding[..., :3, None]), dim=-1)


def inverse(pose: Tensor) -> Tensor:
    """Return the inverse (..., 3, 4) of a rigid motion (..., 3, 4)."""
    turned = pose[..., :3].mT
    return torch.cat((turned, -turned @ pose[..., 3:]), dim=-1)


def network_intrinsics(encoding: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (..., 3, 3) for a picture of (H, W) px, with W / 2 in the middle of pixels 0..W-1, as the network has it.

    A field of view of 0 gives an infinite focal length, one beyond 180 degrees a negative one.
    """
    matrix = torch.zeros(*encoding.shape[:-1], 3, 3, dtype=encoding.dtype, device=encoding.device)
    for axis, side, field in ((0, size[1], encoding[..., 8]), (1, size[0], encoding[..., 7])):
        matrix[..., axis, axis] = side / 2 / (field / 2).tan()
        matrix[..., axis, 2] = side / 2
    matrix[..., 2, 2] = 1
    return matrix


def encode(pose: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
    """Return encodings (..., 9) of poses (..., 3, 4) world from camera and of intrinsics as the network counts them."""
    fields = [2 * (side / 2 / intrinsics[..., axis, axis]).atan() for side, axis in ((size[0], 1), (size[1], 0))]
    return torch.cat((pose[..., 3], quaternion_of(pose[..., :3]), torch.stack(fields, dim=-1)), dim=-1)


def moved(encoding: Tensor, scale: Tensor, rotation: Tensor, shift: Tensor) -> Tensor:
    """Return encodings (..., 9) in another world: points x of this one are scale * rotation @ x + shift there."""
    centre = scale * (rotation @ encoding[..., :3, None])[..., 0] + shift
    turned = quaternion_of(rotation @ rotation_of(encoding[..., 3:7]))
    return torch.cat((centre, turned, encoding[..., 7:]), dim=-1)


def world_points(depth: Tensor, encoding: Tensor) -> Tensor:
    """Return points (..., H, W, 3) of depth maps (..., H, W), pixels as the network counts them."""
    size = (depth.shape[-2], depth.shape[-1])
    v, u = (torch.arange(side, dtype=depth.dtype, device=depth.device) for side in size)
    pixels = torch.stack((*torch.meshgrid(u, v, indexing="xy"), torch.ones(size).to(depth)), dim=-1)
    rays = pixels @ network_intrinsics(encoding, size).inverse().mT[..., None, :, :]
    pose = world_from_cam(encoding)
    return (rays * depth[..., None]) @ pose[..., None, :, :3].mT + pose[..., None, None, :, 3]
