"""A mesh in other axes, and as an OBJ."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

from geoflow.models.instantmesh import Mesh
from geoflow.models.instantmesh.mesh import obj_text


def tetrahedron() -> Mesh:
    """Faces counter-clockwise seen from outside, and a vertex that none has."""
    vertices = np.float32([[0, 0, 0], [9, 9, 9], [1, 0, 0], [0, 1, 0], [0, 0, 2]])
    faces = np.int32([[0, 3, 2], [0, 2, 4], [0, 4, 3], [2, 3, 4]])
    return Mesh(vertices, faces, np.uint8([[0, 0, 0], [1, 1, 1], [255, 0, 0], [0, 255, 0], [0, 0, 51]]))


def volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    return float(np.einsum("ij,ij->i", np.cross(a, b), c).sum() / 6)


def test_the_mirrored_mesh_is_mirrored_and_its_faces_still_look_outward() -> None:
    mesh = tetrahedron()
    found = mesh.mirrored()
    assert found.vertices[:, 2].tolist() == (-mesh.vertices[:, 2]).tolist()
    assert volume(mesh) == pytest.approx(1 / 3) and volume(found) == pytest.approx(1 / 3)


def test_the_upright_mesh_is_turned_and_not_mirrored() -> None:
    mesh = tetrahedron()
    found = mesh.upright()
    assert found.vertices[4].tolist() == [0, 2, 0], "z becomes y"
    assert (found.faces == mesh.faces).all() and volume(found) == pytest.approx(volume(mesh))


def test_vertices_without_a_face_can_go() -> None:
    mesh = tetrahedron().referenced()
    assert len(mesh.vertices) == 4 and mesh.faces.max() == 3 and volume(mesh) == pytest.approx(1 / 3)
    assert mesh.colours[1].tolist() == [255, 0, 0]


def test_an_obj_is_read_back_with_its_colours() -> None:
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")
    mesh = tetrahedron().referenced()
    text = obj_text(mesh)
    assert text.splitlines()[3] == "v 0.00000000 0.00000000 2.00000000 0.00000000 0.00000000 0.20000000"
    found = trimesh.load(trimesh.util.wrap_as_stream(text.encode()), file_type="obj", process=False)
    assert np.allclose(found.vertices, mesh.vertices) and (found.faces == mesh.faces).all()
    assert (found.visual.vertex_colors[:, :3] == mesh.colours).all() and found.is_watertight
