"""Triangle meshes of objects in the world."""

from __future__ import annotations

import numpy as np


def in_world(vertices: np.ndarray, world_from_mesh: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) moved into the world: (V, 3) float32 scene units."""
    matrix = world_from_mesh.astype(np.float64)
    return (vertices @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)


def surface_points(vertices: np.ndarray, faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw points evenly over the surface: numbers of the three vertices (K, 3) that each lies between, and weights.

    Weights (K, 3) add up to 1, so that `(values[numbers] * weights[..., None]).sum(1)` is any vertex's value there. The
    same mesh gives the same points. K is `count`, or 0 where the mesh has no area.
    """
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if not area.sum() > 0:
        return np.zeros((0, 3), np.int64), np.zeros((0, 3))
    rng = np.random.default_rng(0)
    place = np.searchsorted(np.cumsum(area) / area.sum(), rng.random(count), side="right")
    chosen = faces[place.clip(0, len(faces) - 1)]
    root, along = np.sqrt(rng.random(count)), rng.random(count)
    return chosen, np.stack([1 - root, root * (1 - along), root * along], -1)
