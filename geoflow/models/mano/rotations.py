"""Rotations of a hand's joints: from six numbers, from axis-angle and back, and those of the other hand.

Works on numpy arrays and torch tensors alike, except where a signature says numpy.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

_LEAST_NORM = 1e-12
# M R M with M = diag(-1, 1, 1), entry by entry.
_MIRROR = ((1.0, -1.0, -1.0), (-1.0, 1.0, 1.0), (-1.0, 1.0, 1.0))


def arrays_of(value: Any) -> Any:
    """Return the library that an array belongs to: torch for its tensors, otherwise numpy."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(value, torch.Tensor) else np


def from_six(numbers: Any) -> Any:
    """Return rotations (..., 3, 3) of six numbers (..., 6): the first column, and the second column before it is made
    perpendicular (Zhou et al. 2019, section B).

    >>> from_six(np.array([2.0, 0, 0, 5, 3, 0]))[:, 1]
    array([0., 1., 0.])
    """
    x = _unit(numbers[..., :3])
    second = numbers[..., 3:]
    y = _unit(second - (x * second).sum(-1)[..., None] * x)
    return arrays_of(numbers).stack((x, y, _cross(x, y)), -1)


def from_axis_angle(vectors: np.ndarray) -> np.ndarray:
    """Return rotations (..., 3, 3) float64 of axis-angle vectors (..., 3) in rad, by Rodrigues' formula."""
    vectors = np.asarray(vectors, np.float64)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    cross = np.stack([np.stack(row, -1) for row in rows], -2)
    # sin(a)/a and (1 - cos(a))/a^2, which stay finite at 0
    return np.eye(3) + np.sinc(angle / np.pi) * cross + np.sinc(angle / (2 * np.pi)) ** 2 / 2 * cross @ cross


def to_axis_angle(rotations: np.ndarray) -> np.ndarray:
    """Return axis-angle vectors (..., 3) float64 of rotations (..., 3, 3), of length 0..pi; NaN for NaN.

    By way of the quaternion, from whichever of its four numbers is largest (Shepperd 1978): exact near 0 and near pi.

    >>> to_axis_angle(np.diag([1.0, -1, -1])).round(4)
    array([3.1416, 0.    , 0.    ])
    """
    r = np.asarray(rotations, np.float64)
    # 4 q q^T of the quaternion (w, x, y, z)
    (a, b, c), (d, e, f), (g, h, k) = np.moveaxis(r, (-2, -1), (0, 1))
    rows = (
        (1 + a + e + k, h - f, c - g, d - b),
        (h - f, 1 + a - e - k, b + d, c + g),
        (c - g, b + d, 1 - a + e - k, f + h),
        (d - b, c + g, f + h, 1 - a - e + k),
    )
    outer = np.stack([np.stack(row, -1) for row in rows], -2)
    best = np.diagonal(outer, axis1=-2, axis2=-1).argmax(-1)
    quaternion = np.take_along_axis(outer, best[..., None, None], -2)[..., 0, :]
    quaternion = quaternion * np.where(quaternion[..., :1] < 0, -1, 1)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., :1])
    # without a turn there is no axis: the ratio's limit is 2 / w
    ratio = np.where(sine > _LEAST_NORM, angle / np.maximum(sine, _LEAST_NORM), 2 / np.maximum(quaternion[..., :1], 1))
    return quaternion[..., 1:] * ratio


def mirrored(rotations: Any) -> Any:
    """Return M R M with M = diag(-1, 1, 1): the rotations (..., 3, 3) as a mirror shows them.

    A left hand's rotations are those of the right hand that its mirror image shows, mirrored so. In axis-angle, y and z
    change their signs.
    """
    if arrays_of(rotations) is np:
        return rotations * np.array(_MIRROR, rotations.dtype)
    return rotations * rotations.new_tensor(_MIRROR)


def _unit(vectors: Any) -> Any:
    return vectors / ((vectors * vectors).sum(-1) ** 0.5).clip(_LEAST_NORM)[..., None]


def _cross(a: Any, b: Any) -> Any:
    """Cross product (..., 3); the names of the libraries' own functions differ."""
    (ax, ay, az), (bx, by, bz) = ((v[..., 0], v[..., 1], v[..., 2]) for v in (a, b))
    return arrays_of(a).stack((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx), -1)
