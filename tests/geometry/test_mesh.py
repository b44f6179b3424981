"""Meshes and labels: what is wrong with one is named."""

from __future__ import annotations

import numpy as np
import object_stages
import pytest

from geoflow.errors import ConfigError, StageError
from geoflow.fields import check, field
from geoflow.geometry.mesh import in_world
from geoflow.values.mesh_values import mesh_fault, scale_of, similarity_fault
from geoflow.values.object_names import kind_of, meshes_in, name_for

NAMES = ("mesh.vertices", "mesh.faces", "mesh.colours", "mesh.world_from_mesh", "mesh.frame")


def sent(number: int, **changes: np.ndarray) -> dict[str, np.ndarray]:
    """A cube as it travels, with other arrays in place of some of its own."""
    return {name_for(f"mesh.{name}", number): array for name, array in {**object_stages.cube(), **changes}.items()}


def test_a_field_of_an_object_is_the_row_of_its_kind() -> None:
    assert field("mesh.3.vertices").name == "mesh.3.vertices" and field("mesh.3.vertices").group == "mesh.3"
    assert field("mesh.3.vertices").shape == field("mesh.vertices").shape == "V 3"
    assert kind_of("mesh.12.faces") == "mesh.faces"
    for wrong in ("mesh.0.vertices", "mesh.3.normals", "mesh.three.vertices", "camera.3.depth"):
        with pytest.raises(ConfigError, match="unknown field"):
            field(wrong)


def test_meshes_of_several_objects_are_checked_each_by_itself() -> None:
    small = {"vertices": np.eye(3, dtype=np.float32), "faces": np.array([[0, 1, 2]], np.int32)}
    arrays = sent(1) | sent(30, **small, colours=np.zeros((3, 3), np.uint8))
    check(arrays, NAMES, who="mesh")
    check({}, (), optional=NAMES, who="mesh")
    assert list(meshes_in(arrays)) == [1, 30] and len(meshes_in(arrays)[30]["vertices"]) == 3
    with pytest.raises(StageError, match=r"left out \['mesh.30.frame'\]"):
        check({n: a for n, a in arrays.items() if n != "mesh.30.frame"}, (), optional=NAMES, who="mesh")
    with pytest.raises(StageError, match=r"left out \['mesh.colours', 'mesh.faces', .*\]"):
        check({}, NAMES, who="mesh")


def sheared() -> np.ndarray:
    matrix = np.eye(4, dtype=np.float32)
    matrix[0, 1] = 0.01
    return matrix


FAULTS = [
    ({"faces": np.array([[0, 1, 8]], np.int32)}, "mesh.3.faces should name vertices 0 to 7, found 0 to 8"),
    ({"faces": np.array([[-1, 1, 2]], np.int32)}, "mesh.3.faces should name vertices 0 to 7, found -1 to 2"),
    ({"faces": np.zeros((0, 3), np.int32)}, "mesh.3.faces is empty"),
    ({"vertices": np.full((8, 3), np.nan, np.float32)}, "mesh.3.vertices should be finite"),
    ({"vertices": np.zeros((8, 3))}, "mesh.3.vertices should be float32, found float64"),
    ({"colours": np.zeros((7, 3), np.uint8)}, r"mesh.3.colours should have V=8"),
    ({"world_from_mesh": sheared()}, "mesh.3.world_from_mesh should be a rotation times a scale, found one that is"),
    ({"world_from_mesh": np.diag([1, 1, -1, 1]).astype(np.float32)}, "found a mirror image"),
    ({"world_from_mesh": np.diag([1, 1, 2, 1]).astype(np.float32)}, "found one that is off"),
    ({"world_from_mesh": np.diag([0, 0, 0, 1]).astype(np.float32)}, "found the scale 0"),
    ({"world_from_mesh": np.full((4, 4), np.inf, np.float32)}, "mesh.3.world_from_mesh should be finite"),
    ({"world_from_mesh": np.diag([1, 1, 1, 2]).astype(np.float32)}, "the last row 0 0 0 1, found 0 0 0 2"),
    ({"frame": np.array([-1], np.int64)}, "mesh.3.frame should be the number of a source frame, found -1"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_what_is_wrong_with_a_mesh_is_named_with_its_object(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(StageError, match=message):
        check(sent(3, **change), NAMES, who="mesh")


def test_a_mesh_goes_to_its_place() -> None:
    mesh = object_stages.cube(scale=2.0, at=(1, 2, 3))
    assert mesh_fault(mesh) == "" == similarity_fault(mesh["world_from_mesh"])
    assert scale_of(mesh["world_from_mesh"]) == pytest.approx(2)
    moved = in_world(np.array([[0.5, 0, 0]], np.float32), mesh["world_from_mesh"])
    np.testing.assert_allclose(moved, [[1, 3, 3]])  # a quarter turn about z, and one unit long
