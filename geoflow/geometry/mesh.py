"""Triangle meshes of objects in the world."""

from __future__ import annotations

import numpy as np


def in_world(vertices: np.ndarray, world_from_mesh: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) moved into the world: (V, 3) float32 scene units."""
    matrix = world_from_mesh.astype(np.float64)
    return (vertices @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
