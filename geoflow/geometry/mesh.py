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
    area = triangle_areas(vertices, faces)
    if not area.sum() > 0:
        return np.zeros((0, 3), np.int64), np.zeros((0, 3))
    rng = np.random.default_rng(0)
    place = np.searchsorted(np.cumsum(area) / area.sum(), rng.random(count), side="right")
    chosen = faces[place.clip(0, len(faces) - 1)]
    root, along = np.sqrt(rng.random(count)), rng.random(count)
    return chosen, np.stack([1 - root, root * (1 - along), root * along], -1)


def triangle_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the areas (F,) float64."""
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def seen_share(vertices: np.ndarray, faces: np.ndarray, seen: np.ndarray) -> float:
    """Return the share, 0 to 1, of the area of triangles whose three vertices are seen, (V,) bool."""
    area = triangle_areas(vertices, faces)
    return float(area[seen[faces].all(1)].sum() / area.sum()) if area.sum() > 0 else 0.0


def is_watertight(faces: np.ndarray) -> bool:
    """Whether each edge of the triangles (F, 3) is run through as often one way as the other: inside is then inside.

    >>> is_watertight(np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])), is_watertight(np.array([[0, 1, 2]]))
    (True, False)
    """
    if not len(faces):
        return False
    size = int(faces.max()) + 1
    start, stop = faces.astype(np.int64).ravel(), np.roll(faces, -1, axis=1).astype(np.int64).ravel()
    one_way, count = np.unique(start * size + stop, return_counts=True)
    other_way, back = np.unique(stop * size + start, return_counts=True)
    return bool(np.array_equal(one_way, other_way) and np.array_equal(count, back))
