"""Rigid motions as translation and quaternion (tx, ty, tz, x, y, z, w): (..., 7).

Tangents are (translation, rotation): (..., 6). A motion T is moved by a tangent xi to exp(xi) T.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_SMALL = 0.5  # rad; below this angle a series is used, whose first term left out is below 1e-12


def identity(count: int, like: Tensor) -> Tensor:
    """Return (count, 7) motions that move nothing."""
    motion = like.new_zeros(count, 7)
    motion[:, 6] = 1
    return motion


def rotate(q: Tensor, v: Tensor) -> Tensor:
    """Turn vectors (..., 3) by unit quaternions (..., 4)."""
    twice = 2 * torch.linalg.cross(q[..., :3], v)
    return v + q[..., 3:] * twice + torch.linalg.cross(q[..., :3], twice)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Return the motion b, then a."""
    x, y = a[..., 3:6], b[..., 3:6]
    w, v = a[..., 6:], b[..., 6:]
    turn = torch.cat((w * y + v * x + torch.linalg.cross(x, y), w * v - (x * y).sum(-1, keepdim=True)), -1)
    return torch.cat((a[..., :3] + rotate(a[..., 3:], b[..., :3]), turn), -1)


def invert(motion: Tensor) -> Tensor:
    """Return the motion back."""
    back = torch.cat((-motion[..., 3:6], motion[..., 6:]), -1)
    return torch.cat((-rotate(back, motion[..., :3]), back), -1)


def rotation(motion: Tensor) -> Tensor:
    """Return the rotation matrices (..., 3, 3)."""
    x, y, z, w = motion[..., 3:].unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def matrix(motion: Tensor) -> Tensor:
    """Return the matrices (..., 4, 4)."""
    made = motion.new_zeros(*motion.shape[:-1], 4, 4)
    made[..., :3, :3], made[..., :3, 3], made[..., 3, 3] = rotation(motion), motion[..., :3], 1
    return made


def from_matrix(matrices: Tensor) -> Tensor:
    """Return the motions (..., 7) of rigid matrices (..., 4, 4), w at least 0 (Shepperd 1978: by the largest entry)."""
    r = matrices[..., :3, :3]
    m00, m11, m22 = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    squares = torch.stack((1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22, 1 + m00 + m11 + m22), -1)
    xy, xz, yz = (r[..., i, j] + r[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    xw, yw, zw = (r[..., i, j] - r[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    rows = ((0, xy, xz, xw), (xy, 1, yz, yw), (xz, yz, 2, zw), (xw, yw, zw, 3))
    products = torch.stack(
        [torch.stack([squares[..., e] if isinstance(e, int) else e for e in row], -1) for row in rows], -2
    )
    best = squares.argmax(-1, keepdim=True)
    q = torch.gather(products, -2, best[..., None].expand(*best.shape, 4))[..., 0, :]
    q = q / q.norm(dim=-1, keepdim=True)
    q = torch.where(q[..., 3:] < 0, -q, q)
    return torch.cat((matrices[..., :3, 3], q), -1)


def skew(v: Tensor) -> Tensor:
    """Return the cross-product matrices (..., 3, 3) of vectors (..., 3)."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def adjoint(motion: Tensor) -> Tensor:
    """Return (..., 6, 6): T exp(xi) = exp(adjoint(T) xi) T."""
    turn = rotation(motion)
    made = motion.new_zeros(*motion.shape[:-1], 6, 6)
    made[..., :3, :3], made[..., 3:, 3:] = turn, turn
    made[..., :3, 3:] = skew(motion[..., :3]) @ turn
    return made


def exp(xi: Tensor) -> Tensor:
    """Return the motions of tangents (..., 6)."""
    shift, turn = xi[..., :3], xi[..., 3:]
    angle = turn.norm(dim=-1, keepdim=True)
    half = torch.sinc(angle / (2 * torch.pi))  # sin(angle / 2) / (angle / 2)
    q = torch.cat((0.5 * half * turn, torch.cos(angle / 2)), -1)
    across = torch.linalg.cross(turn, shift)
    second = _series(angle, (1 / 6, -1 / 120, 1 / 5040, -1 / 362880, 1 / 39916800), _third_of_exp)
    moved = shift + 0.5 * half**2 * across + second * torch.linalg.cross(turn, across)
    return torch.cat((moved, q / q.norm(dim=-1, keepdim=True)), -1)


def log(motion: Tensor) -> Tensor:
    """Return the tangents (..., 6) of motions, turned by at most half a turn."""
    q = torch.where(motion[..., 6:] < 0, -motion[..., 3:], motion[..., 3:])
    length = q[..., :3].norm(dim=-1, keepdim=True)
    tiny = length < 1e-6
    ratio = 2 * torch.atan2(length, q[..., 3:]) / torch.where(tiny, torch.ones_like(length), length)
    turn = torch.where(tiny, 2 / q[..., 3:].clamp(min=0.5), ratio) * q[..., :3]
    angle = turn.norm(dim=-1, keepdim=True)
    second = _series(angle, (1 / 12, 1 / 720, 1 / 30240, 1 / 1209600, 1 / 47900160), _third_of_log)
    shift = motion[..., :3]
    across = torch.linalg.cross(turn, shift)
    return torch.cat((shift - 0.5 * across + second * torch.linalg.cross(turn, across), turn), -1)


def retract(motion: Tensor, xi: Tensor) -> Tensor:
    """Return exp(xi) T, its quaternion of unit length."""
    moved = multiply(exp(xi), motion)
    return torch.cat((moved[..., :3], moved[..., 3:] / moved[..., 3:].norm(dim=-1, keepdim=True)), -1)


def _series(angle: Tensor, terms: tuple[float, ...], closed: Callable[[Tensor], Tensor]) -> Tensor:
    small, square = angle < _SMALL, angle * angle
    value = torch.zeros_like(angle)
    for term in reversed(terms):
        value = value * square + term
    return torch.where(small, value, closed(torch.where(small, torch.ones_like(angle), angle)))


def _third_of_exp(angle: Tensor) -> Tensor:
    return (angle - torch.sin(angle)) / angle**3


def _third_of_log(angle: Tensor) -> Tensor:
    return (1 - 0.5 * angle / torch.tan(0.5 * angle)) / angle**2
