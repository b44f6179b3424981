"""`nerfstudio`, read as its own data parser does: OpenGL cameras, intrinsics per frame, points in the same world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from full_store import UNPOSED

from geoflow.errors import StoreError
from geoflow.export import export_store

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def folder(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = export_store(store, "nerfstudio", tmp_path_factory.mktemp("nerf") / "room")
    assert (done.frames, done.of) == (7, 8)
    return done.path


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "transforms.json").read_text())


def read_ply(path: Path) -> tuple[np.ndarray, np.ndarray]:
    data = path.read_bytes()
    head, body = data.split(b"end_header\n", 1)
    count = int(next(line.split()[-1] for line in head.decode().splitlines() if line.startswith("element vertex")))
    assert b"format binary_little_endian" in head
    rows = np.frombuffer(body, np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)]))
    assert len(rows) == count
    return rows["xyz"], rows["rgb"]


def test_frames_without_a_pose_are_left_out_and_said(folder: Path, document: dict[str, Any], stored: Arrays):
    names = [row["file_path"] for row in document["frames"]]
    assert names == [f"images/{i:06d}.jpg" for i in range(8) if i != UNPOSED]
    assert sorted(str(path.relative_to(folder)) for path in (folder / "images").iterdir()) == names
    said = document["geoflow"]
    assert (said["frames"], said["without_pose"], said["unit"]) == (8, [int(stored["frames/index"][UNPOSED])], "scene")


def test_a_point_falls_on_the_pixel_that_saw_it(document: dict[str, Any], stored: Arrays):
    """Through the camera as nerfstudio has it: y up, looking along -z, pixel centres at 0.5."""
    k = 0
    for row in document["frames"]:
        i = int(row["file_path"][7:13])
        seen = np.flatnonzero(stored["tracks/visible"][i] & np.isfinite(stored["tracks/xyz"][i]).all(1))
        cam_from_world = np.linalg.inv(np.array(row["transform_matrix"]))
        x, y, z = (stored["tracks/xyz"][i, seen] @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]).T
        assert (z < 0).all()
        uv = np.stack([row["cx"] + row["fl_x"] * x / -z, row["cy"] - row["fl_y"] * y / -z], axis=1)
        np.testing.assert_allclose(uv, stored["tracks/uv"][i, seen] + 0.5, atol=2e-2)
        k += len(seen)
    assert k > 100


def test_intrinsics_are_each_frames_own(store: Path, stored: Arrays, tmp_path: Path):
    path = tmp_path / "zoom.h5"
    path.write_bytes(store.read_bytes())
    with h5py.File(path, "a") as file:
        file["camera/intrinsics"][:, 0, 0] = 50 + np.arange(8)
    rows = json.loads((export_store(path, "nerfstudio", tmp_path / "z", stride=2).path / "transforms.json").read_text())
    assert [row["fl_x"] for row in rows["frames"]] == [50, 52, 54, 56]
    assert not {"fl_x", "cx", "w"} & set(rows), "a value at the top would hold for all frames"
    assert all(row["cx"] == stored["camera/intrinsics"][0, 0, 2] + 0.5 for row in rows["frames"])


def test_points_are_coloured_and_in_the_same_world(folder: Path, document: dict[str, Any], stored: Arrays):
    xyz, rgb = read_ply(folder / document["ply_file_path"])
    assert len(xyz) > 50 and np.ptp(rgb.astype(int), axis=0).max() > 30
    everything = stored["tracks/xyz"].reshape(-1, 3)
    everything = everything[np.isfinite(everything).all(1)]
    assert max(np.linalg.norm(everything - point, axis=1).min() for point in xyz[::5]) < 0.05


def test_pictures_are_the_frames(folder: Path, stored: Arrays):
    found = cv2.imread(str(folder / "images" / "000005.jpg"))[..., ::-1].astype(int)
    assert np.abs(found - stored["frames/rgb"][5]).mean() < 8  # JPEG


def test_without_tracks_points_come_from_depth_and_without_depth_there_are_none(store: Path, tmp_path: Path):
    path = tmp_path / "a.h5"
    path.write_bytes(store.read_bytes())
    with h5py.File(path, "a") as file:
        del file["tracks"]
    xyz, rgb = read_ply(export_store(path, "nerfstudio", tmp_path / "b", max_points=700).path / "sparse_pc.ply")
    assert len(xyz) == 700 and np.ptp(rgb.astype(int), axis=0).max() > 30
    with h5py.File(path, "a") as file:
        del file["geometry"], file["camera/depth"]
    bare = export_store(path, "nerfstudio", tmp_path / "c").path
    assert "ply_file_path" not in json.loads((bare / "transforms.json").read_text())
    assert not (bare / "sparse_pc.ply").exists()
    with pytest.raises(StoreError, match="exists already"):
        export_store(path, "nerfstudio", tmp_path / "c")
