"""The mesh of what rests in a store, as glb, ply and obj."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from full_store import write_full_store
from scene_distance import distance_to_body, distance_to_scene
from typer.testing import CliRunner

from geoflow.cli import app
from geoflow.errors import ConfigError, StoreError
from geoflow.export import export_store
from geoflow.geometry.mesh import surface_points
from geoflow.synth import Clip, render
from geoflow.synth.scene import build_scene

SEED, FPS = 5, 2
SCENE = build_scene(SEED, 1)
SIZE = (120, 160)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return render(num_frames=10, width=SIZE[1], height=SIZE[0], fps=FPS, seed=SEED, moving=1)


@pytest.fixture(scope="module")
def labelled(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose labels show the body that moves."""
    path = tmp_path_factory.mktemp("scene") / "clip.h5"
    write_full_store(path, clip)
    with h5py.File(path, "a") as file:
        file["objects/label"] = clip.moving.astype(np.uint8) * np.uint8(3)
    return path


def loaded(path: Path) -> Any:
    trimesh = pytest.importorskip("trimesh")
    found = trimesh.load(path, process=False)
    return found.geometry["scene"] if path.suffix == ".glb" else found


def drawn(mesh: Any) -> np.ndarray:
    numbers, weights = surface_points(np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces), 10_000)
    return (mesh.vertices[numbers] * weights[..., None]).sum(1)


@pytest.mark.long
def test_the_scene_in_three_kinds_of_file(labelled: Path, clip: Clip, tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    paths = [tmp_path / f"room.{suffix}" for suffix in ("ply", "glb", "obj")]
    for path in paths:
        done = export_store(labelled, "mesh", path, stride=1, max_faces=6000, voxel=0.06)
        assert done.frames == 9, "one has no pose"
        assert "not watertight, 100 % of its surface seen, voxels of 0.06" in done.said
    ply, glb, obj = (loaded(path) for path in paths)
    scene_depth = np.median(clip.depth)
    assert np.median(distance_to_scene(SCENE, drawn(ply))) < 0.01 * scene_depth
    assert 3000 < len(ply.faces) <= 6000 and np.array_equal(ply.faces, glb.faces) and len(obj.faces) == len(ply.faces)
    np.testing.assert_allclose(glb.vertices, ply.vertices * [1, -1, -1], atol=1e-5)
    np.testing.assert_allclose(np.sort(obj.vertices, axis=0), np.sort(ply.vertices, axis=0), atol=1e-5)
    assert np.array_equal(ply.visual.vertex_colors, glb.visual.vertex_colors)
    assert ply.visual.vertex_colors[:, :3].std(0).min() > 5
    header = paths[0].read_bytes().split(b"end_header")[0].decode()
    assert "comment watertight False" in header and "comment seen_share 1.0" in header
    assert paths[2].read_text().startswith("# watertight False\n# seen_share 1.0\n")
    trimesh = pytest.importorskip("trimesh")
    facts = trimesh.load(paths[1]).metadata
    assert facts["watertight"] is False and facts["voxel"] == 0.06


@pytest.mark.long
def test_labelled_objects_are_left_out_unless_wanted(labelled: Path, tmp_path: Path) -> None:
    mover = next(body for body in SCENE.bodies if body.drift is not None)

    def on_it(**options: bool) -> int:
        path = tmp_path / "room.ply"
        export_store(labelled, "mesh", path, stride=9, voxel=0.06, **options)
        points = drawn(loaded(path))
        close = [distance_to_body(mover, points, i / FPS) < 0.03 for i in (0, 9)]
        return int((np.logical_or(*close) & (distance_to_scene(SCENE, points) > 0.06)).sum())

    assert on_it() == 0 < 20 < on_it(objects=True)


@pytest.mark.long
def test_the_command_says_how_sound_the_mesh_is(labelled: Path, tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    command = ["export", str(labelled), "--to", "mesh", "-o", str(tmp_path / "a.glb"), "--set", "stride=4"]
    done = CliRunner().invoke(app, [*command, "--set", "voxel=0.2", "--set", "colours=false"])
    assert done.exit_code == 0, done.output
    assert "3 of 10 frames; " in done.stdout and "not watertight" in " ".join(done.stdout.split())
    assert (np.asarray(loaded(tmp_path / "a.glb").visual.vertex_colors)[:, :3] == 160).all()
    done = CliRunner().invoke(app, [*command, "--set", "voxel=0.2", "--json"])
    assert "faces, not watertight" in json.loads(done.stdout)["said"]


def test_what_cannot_be_meshed_is_said(labelled: Path, tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    with pytest.raises(ConfigError, match=r"whose name should end in \.glb or \.ply or \.obj"):
        export_store(labelled, "mesh", tmp_path / "a.stl")
    with pytest.raises(StoreError, match=r"joins to no surface with voxels of 90 scene units.*--set voxel"):
        export_store(labelled, "mesh", tmp_path / "a.glb", voxel=90.0)
    assert not list(tmp_path.iterdir())
