"""Rigid and similarity transforms: inverse, application, Umeyama alignment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def invert(transform: np.ndarray) -> np.ndarray:
    """Inverse of rigid transforms (..., 4, 4): `b_from_a` of `a_from_b`."""
    rotation_t = np.swapaxes(transform[..., :3, :3], -1, -2)
    inverse = np.zeros_like(transform)
    inverse[..., :3, :3] = rotation_t
    inverse[..., :3, 3] = -(rotation_t @ transform[..., :3, 3:])[..., 0]
    inverse[..., 3, 3] = 1
    return inverse


def apply(transform: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    """Move points (..., 3) by one rigid transform (4, 4)."""
    return xyz @ transform[:3, :3].T + transform[:3, 3]


def skew(vector: np.ndarray) -> np.ndarray:
    """Cross-product matrices (..., 3, 3) of vectors (..., 3)."""
    x, y, z = np.moveaxis(np.asarray(vector, np.float64), -1, 0)
    zero = np.zeros_like(x)
    rows = [np.stack(row, -1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return np.stack(rows, axis=-2)


def only_turns(cam_from_world: np.ndarray) -> np.ndarray:
    """Return which poses (T, 4, 4) are a rotation with a NaN translation: (T,) bool."""
    turned = np.isfinite(cam_from_world[:, :3, :3]).all((1, 2)) & (cam_from_world[:, 3] == (0, 0, 0, 1)).all(1)
    return turned & np.isnan(cam_from_world[:, :3, 3]).all(1)


def nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    """The rotation closest to a (3, 3) matrix in the Frobenius norm (Arun et al. 1987)."""
    u, _, vt = np.linalg.svd(matrix)
    return u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt


@dataclass(frozen=True)
class Sim3:
    """A similarity: maps x to scale * rotation @ x + translation."""

    scale: float
    rotation: np.ndarray  # (3, 3)
    translation: np.ndarray  # (3,)

    @classmethod
    def identity(cls) -> Sim3:
        return cls(1.0, np.eye(3), np.zeros(3))

    def apply(self, xyz: np.ndarray) -> np.ndarray:
        """Move points (..., 3)."""
        return self.scale * (xyz @ self.rotation.T) + self.translation

    def apply_to_cameras(self, cam_from_world: np.ndarray) -> np.ndarray:
        """Re-express rigid poses (..., 4, 4) in the moved world; camera-frame depths then scale by `scale`."""
        moved = cam_from_world.copy()
        rotation = cam_from_world[..., :3, :3] @ self.rotation.T
        moved[..., :3, :3] = rotation
        moved[..., :3, 3] = self.scale * cam_from_world[..., :3, 3] - rotation @ self.translation
        return moved


def umeyama(source: np.ndarray, target: np.ndarray, *, with_scale: bool = True) -> Sim3:
    """Least-squares similarity that takes `source` to `target`, both (N, 3) with N >= 3 (Umeyama, PAMI 1991).

    Raises ValueError if the points are fewer than three or all the same.
    """
    if len(source) < 3:
        raise ValueError(f"umeyama needs at least 3 points, got {len(source)}")
    mean_source, mean_target = source.mean(0), target.mean(0)
    a, b = source - mean_source, target - mean_target
    variance = (a**2).sum() / len(a)
    if variance < 1e-18:
        raise ValueError("umeyama needs points that are not all the same")
    u, singular, vt = np.linalg.svd(b.T @ a / len(a))
    sign = np.array([1, 1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = float((singular * sign).sum() / variance) if with_scale else 1.0
    return Sim3(scale, rotation, mean_target - scale * rotation @ mean_source)
