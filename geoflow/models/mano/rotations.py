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
    """Return rotations (..., 3, 3) float64 of axis-angle vectors (..., 3) in rad."""
    from scipy.spatial.transform import Rotation

    vectors = np.asarray(vectors, np.float64)
    return Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape, 3)


def to_axis_angle(rotations: np.ndarray) -> np.ndarray:
    """Return axis-angle vectors (..., 3) float64 of rotations (..., 3, 3), of length 0..pi; NaN for NaN.

    >>> to_axis_angle(np.diag([1.0, -1, -1])).round(4)
    array([3.1416, 0.    , 0.    ])
    """
    from scipy.spatial.transform import Rotation

    flat = np.asarray(rotations, np.float64).reshape(-1, 3, 3)
    known = np.isfinite(flat).all((1, 2))
    found = np.full((len(flat), 3), np.nan)
    found[known] = Rotation.from_matrix(flat[known]).as_rotvec()
    return found.reshape(rotations.shape[:-1])


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
