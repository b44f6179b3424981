"""A coloured mesh, and the axes in which it can be written."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

_VERTEX, _FACE = "v" + " %.8f" * 6 + "\n", "f %d %d %d\n"  # lines of an OBJ


@dataclass(frozen=True)
class Mesh:
    """A mesh with a colour for each vertex.

    Axes are those of the cameras: z up, the input view on the side of +x. Units are made up: the box is 2.1 wide.
    """

    vertices: np.ndarray  # (V, 3) float32
    faces: np.ndarray  # (F, 3) int32, counter-clockwise seen from outside
    colours: np.ndarray  # (V, 3) uint8

    def mirrored(self) -> Mesh:
        """The mesh as InstantMesh's own program writes it: z mirrored, faces reversed. It is upside down and a mirror
        image of the object."""
        return replace(self, vertices=self.vertices * np.array([1, 1, -1], np.float32), faces=self.faces[:, ::-1])

    def upright(self) -> Mesh:
        """The mesh with y up, turned and not mirrored."""
        return replace(self, vertices=self.vertices[:, [1, 2, 0]])

    def referenced(self) -> Mesh:
        """The mesh without vertices that no face has."""
        used, faces = np.unique(self.faces, return_inverse=True)
        faces = faces.reshape(-1, 3).astype(np.int32)
        return Mesh(self.vertices[used], faces, self.colours[used])


def obj_text(mesh: Mesh) -> str:
    """Return a mesh as a Wavefront OBJ with colours of vertices: `v x y z r g b`, colours 0..1."""
    rows = np.concatenate([mesh.vertices, mesh.colours / 255.0], axis=1)
    # One formatting of all numbers takes a tenth of the time of one for each.
    vertices = _VERTEX * len(rows) % tuple(rows.ravel().tolist())
    return vertices + _FACE * len(mesh.faces) % tuple((mesh.faces + 1).ravel().tolist())
