"""Meshes of objects as `obj`, `ply` and `glb`, read back with trimesh, and in a Rerun recording with their labels."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from object_stages import cube, poses
from test_export_clips import read_rrd

from geoflow.errors import ConfigError, StoreError
from geoflow.export import export_store
from geoflow.geometry.mesh import in_world
from geoflow.store.objects import colour_of

NEAR, FAR = cube(scale=0.5, at=(0.1, 0.2, 3.0), frame=2), cube(scale=2.0, at=(-1, 0.5, 6.0), frame=5)


def add_objects(path: Path) -> None:
    """Objects 3 and 7 with a mesh each, and 9 without one."""
    with h5py.File(path, "a") as file:
        label = np.zeros((8, 48, 64), np.uint8)
        label[:, :10, :20], label[:, 20:30, 30:], label[4:, 40:] = 3, 7, 9
        file["objects/label"] = label
        for number, mesh in ((3, NEAR), (7, FAR)):
            for name, array in mesh.items():
                file[f"objects/{number}/{name}"] = array
        file.create_group("objects/9").attrs["without"] = "seen in no posed frame"
        for name, array in poses(8, moves_in=4, unknown_in=5).items():
            file[f"objects/3/pose/{name}"] = array


@pytest.fixture(scope="module")
def full(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("meshes") / "clip.h5"
    shutil.copy(store, path)
    add_objects(path)
    return path


def world(mesh: dict[str, np.ndarray]) -> np.ndarray:
    return in_world(mesh["vertices"], mesh["world_from_mesh"])


def check_mesh(found: Any, mesh: dict[str, np.ndarray], vertices: np.ndarray) -> None:
    np.testing.assert_allclose(found.vertices, vertices, atol=1e-5)
    assert np.array_equal(found.faces, mesh["faces"])
    assert np.array_equal(found.visual.vertex_colors[:, :3], mesh["colours"])
    scale = float(np.linalg.norm(mesh["world_from_mesh"][:3, 0]))
    assert found.volume == pytest.approx(scale**3, rel=1e-4)  # above 0: faces are still seen from outside


def test_glb_is_y_up(full: Path, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    done = export_store(full, "glb", tmp_path / "m.glb", what="mesh")
    assert done.frames == 2
    scene = trimesh.load(io.BytesIO((tmp_path / "m.glb").read_bytes()), file_type="glb", process=False)
    assert set(scene.geometry) == {"object_3", "object_7"} == set(scene.graph.nodes_geometry)
    for name, mesh in (("object_3", NEAR), ("object_7", FAR)):
        check_mesh(scene.geometry[name], mesh, world(mesh) * [1, -1, -1])


def test_ply_is_in_the_world_frame(full: Path, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    export_store(full, "ply", tmp_path / "one.ply", what="mesh", object=7)
    check_mesh(trimesh.load(tmp_path / "one.ply", process=False), FAR, world(FAR))
    export_store(full, "ply", tmp_path / "all.ply", what="mesh")
    both = trimesh.load(tmp_path / "all.ply", process=False)
    assert both.vertices.shape == (16, 3) and both.faces.shape == (24, 3)


def test_obj_names_its_objects_and_keeps_colours(full: Path, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    assert export_store(full, "obj", tmp_path / "m.obj").frames == 2
    text = (tmp_path / "m.obj").read_text()
    assert [line for line in text.splitlines() if line.startswith("o ")] == ["o object_3", "o object_7"]
    export_store(full, "obj", tmp_path / "one.obj", object=3)
    check_mesh(trimesh.load(tmp_path / "one.obj", process=False), NEAR, world(NEAR))


def test_points_are_still_the_default(full: Path, store: Path, tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    export_store(full, "ply", tmp_path / "a.ply")
    export_store(store, "ply", tmp_path / "b.ply")
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


@pytest.mark.parametrize(
    ("to", "options", "error", "message"),
    [
        ("ply", {"what": "meshes"}, ConfigError, "--set what=meshes: this format holds points or mesh"),
        ("glb", {"object": 3}, ConfigError, "--set object=3: points belong to no object; add --set what=mesh"),
        ("obj", {"object": 4}, StoreError, "holds no mesh of object 4; it holds those of 3, 7"),
        ("obj", {"object": 9}, StoreError, r"no mesh of object 9 \(seen in no posed frame\)"),
        ("obj", {"object": "3"}, ConfigError, "takes a int here"),
    ],
)
def test_what_there_is_not_is_said(
    full: Path, tmp_path: Path, to: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    pytest.importorskip("trimesh")
    with pytest.raises(error, match=message):
        export_store(full, to, tmp_path / f"m.{to}", **options)
    assert not list(tmp_path.iterdir())


def test_a_store_without_meshes_says_so(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    with pytest.raises(StoreError, match="holds no mesh; run a pipeline that has the slot mesh"):
        export_store(store, "obj", tmp_path / "m.obj")


def test_rerun_shows_meshes_and_labels(full: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    export_store(full, "rerun", tmp_path / "m.rrd")
    found = read_rrd(tmp_path / "m.rrd")
    for number, mesh in ((3, NEAR), (7, FAR)):
        places = found[f"/world/objects/{number}", "Mesh3D:vertex_positions"][-1]
        np.testing.assert_allclose(np.array(places, np.float32), world(mesh), atol=1e-6)
        faces = found[f"/world/objects/{number}", "Mesh3D:triangle_indices"][-1]
        assert np.array_equal(np.array(faces), mesh["faces"])
        colours = np.array(found[f"/world/objects/{number}", "Mesh3D:vertex_colors"][-1], np.uint32)
        rgb = np.stack([colours >> 24, colours >> 16 & 255, colours >> 8 & 255], -1)
        assert np.array_equal(rgb, mesh["colours"])
    with h5py.File(full) as file:
        for i, buffer in found["/world/camera/image/labels", "SegmentationImage:buffer"].items():
            label = np.ravel(buffer).astype(np.uint8).reshape(48, 64)
            assert np.array_equal(label, file["objects/label"][i])
    assert len(found["/world/camera/image/labels", "SegmentationImage:buffer"]) == 8
    moved = found["/world/objects/3", "Transform3D:translation"]
    assert sorted(moved) == [0, 1, 2, 3, 4, 6, 7], "in frame 5 its pose is unknown"
    assert np.ravel(moved[4]).tolist() == [0.25, 0, 0] and np.ravel(moved[2]).tolist() == [0, 0, 0]
    strips = found["/world/object_paths/3", "LineStrips3D:strips"][-1]
    assert [len(strip) for strip in strips] == [5, 2]
    assert ("/world/objects/7", "Transform3D:translation") not in found
    names = found["/world/camera/image/labels", "AnnotationContext:context"][-1]
    assert "object 7" in str(names) and colour_of(3) != colour_of(7)
