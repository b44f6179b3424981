"""Checks of the values of a triangle mesh.

A mesh is a mapping of arrays by the last part of their fields' names: `vertices` (V, 3) float32 in units of the mesh,
`faces` (F, 3) int32, `colours` (V, 3) uint8, `world_from_mesh` (4, 4) float32, `frame` (1,) int64. There may be
`seen` (V,) bool.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# float32 matrices after a few products are exact to about 1e-6; 1e-3 is a shear that would be visible.
_SHEAR = 1e-3


def mesh_fault(mesh: Mapping[str, np.ndarray]) -> str:
    """Return what is wrong with the values of a mesh, beginning with an array's name; "" if nothing is wrong.

    Dtypes and shapes must be as in the field table already. Arrays that are left out are not checked.

    >>> mesh_fault({"vertices": np.zeros((3, 3), np.float32), "faces": np.array([[0, 1, 3]], np.int32)})
    'faces should name vertices 0 to 2, found 0 to 3'
    """
    vertices, faces = mesh.get("vertices"), mesh.get("faces")
    for name, array in (("vertices", vertices), ("faces", faces)):
        if array is not None and not len(array):
            return f"{name} is empty; leave out the mesh of an object that has none"
    if vertices is not None and not np.isfinite(vertices).all():
        return f"vertices should be finite, found {np.count_nonzero(~np.isfinite(vertices))} values that are not"
    if vertices is not None and faces is not None and (faces.min() < 0 or faces.max() >= len(vertices)):
        return f"faces should name vertices 0 to {len(vertices) - 1}, found {faces.min()} to {faces.max()}"
    if "world_from_mesh" in mesh and (fault := similarity_fault(mesh["world_from_mesh"])):
        return f"world_from_mesh {fault}"
    if "frame" in mesh and mesh["frame"].min() < 0:
        return f"frame should be the number of a source frame, found {mesh['frame'].min()}"
    return ""


def similarity_fault(matrix: np.ndarray) -> str:
    """Return why a (4, 4) matrix is not a similarity (a rotation times a positive scale, and a translation), or "".

    >>> similarity_fault(np.diag([2.0, 2.0, 2.0, 1.0])), similarity_fault(np.diag([1.0, 1.0, -1.0, 1.0]))
    ('', 'should be a rotation times a scale, found a mirror image')
    """
    if not np.isfinite(matrix).all():
        return "should be finite"
    if (matrix[3] != (0, 0, 0, 1)).any():
        return f"should have the last row 0 0 0 1, found {' '.join(f'{v:g}' for v in matrix[3])}"
    scale = scale_of(matrix)
    if not scale > 0:
        return "should be a rotation times a scale, found the scale 0"
    turn = matrix[:3, :3].astype(np.float64) / scale
    if np.linalg.det(turn) < 0:
        return "should be a rotation times a scale, found a mirror image"
    if (error := float(np.abs(turn @ turn.T - np.eye(3)).max())) > _SHEAR:
        return f"should be a rotation times a scale, found one that is off by {error:.2g}"
    return ""


def scale_of(world_from_mesh: np.ndarray) -> float:
    """Return the scene units per unit of the mesh; for a matrix with shear, its columns' mean length."""
    return float(np.linalg.norm(world_from_mesh[:3, :3].astype(np.float64), axis=0).mean())
