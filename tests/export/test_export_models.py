"""`colmap` opened with pycolmap, `ply` and `glb` with trimesh."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import numpy as np
import pycolmap
import pytest

from geoflow.errors import StoreError
from geoflow.export import export_store
from geoflow.geometry.cameras import unproject
from geoflow.geometry.rigid import apply, invert

trimesh = pytest.importorskip("trimesh")
Arrays = dict[str, np.ndarray]


@pytest.mark.parametrize("read", ["read_binary", "read_text"])
def test_colmap_opens_the_model(store: Path, stored: Arrays, posed: np.ndarray, tmp_path: Path, read: str):
    done = export_store(store, "colmap", tmp_path / "model")
    assert done.frames == 7
    model = pycolmap.Reconstruction()
    getattr(model, read)(str(tmp_path / "model/sparse/0"))
    assert sorted(image.name for image in model.images.values()) == [f"{i:06d}.jpg" for i in posed]
    assert len(model.cameras) == 1
    k = stored["camera/intrinsics"][0]
    assert np.allclose(model.cameras[1].params, [k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5])
    for image in model.images.values():
        pose = stored["camera/cam_from_world"][int(image.name[:6])]
        # quaternions of float32 rotations, and text with 17 digits
        np.testing.assert_allclose(image.cam_from_world().matrix(), pose[:3], atol=1e-6)
    assert len(model.points3D) > 100
    assert model.compute_mean_reprojection_error() < 0.01  # exact tracks, so what is left is float32
    point = next(iter(model.points3D.values()))
    element = point.track.elements[0]
    image = model.images[element.image_id]
    np.testing.assert_allclose(image.project_point(point.xyz), image.points2D[element.point2D_idx].xy, atol=0.05)


def test_colmap_leaves_moving_tracks_out(store: Path, stored: Arrays, tmp_path: Path):
    path = tmp_path / "moving.h5"
    path.write_bytes(store.read_bytes())
    with h5py.File(path, "a") as file:
        count = file["tracks/xyz"].shape[1]
        file["tracks/xyz"][:] = stored["tracks/xyz"][:1]  # all at rest
        file["tracks/xyz"][1:, :10] += np.linspace(0, 1, 7)[:, None, None]
        file["tracks/visible"][:] = True
        file["tracks/uv"][:] = 5.0
    export_store(path, "colmap", tmp_path / "model", images=False)
    model = pycolmap.Reconstruction(str(tmp_path / "model/sparse/0"))
    assert len(model.points3D) == count - 10
    found = np.sort(np.array([point.xyz for point in model.points3D.values()]), axis=0)
    np.testing.assert_allclose(found, np.sort(stored["tracks/xyz"][0, 10:], axis=0), atol=1e-5)
    assert not (tmp_path / "model/images").exists()


def test_colmap_writes_the_pictures(store: Path, stored: Arrays, tmp_path: Path):
    export_store(store, "colmap", tmp_path / "model", stride=2)
    names = sorted(p.name for p in (tmp_path / "model/images").iterdir())
    assert names == ["000000.jpg", "000002.jpg", "000004.jpg", "000006.jpg"]
    grey = cv2.imread(str(tmp_path / "model/images/000004.jpg"), cv2.IMREAD_GRAYSCALE)
    expected = cv2.cvtColor(stored["frames/rgb"][4], cv2.COLOR_RGB2GRAY)
    assert np.abs(grey.astype(float) - expected).mean() < 3  # JPEG at quality 95


def test_colmap_without_tracks_takes_points_of_the_depth(store: Path, stored: Arrays, tmp_path: Path):
    path = tmp_path / "deep.h5"
    path.write_bytes(store.read_bytes())
    with h5py.File(path, "a") as file:
        del file["tracks"]
        file["camera/intrinsics"][2, 0, 0] += 1
    export_store(path, "colmap", tmp_path / "model", max_points=700)
    model = pycolmap.Reconstruction(str(tmp_path / "model/sparse/0"))
    assert len(model.points3D) == 700 and len(model.cameras) == 7
    depth = model.images[1].cam_from_world().matrix() @ np.append(model.points3D[1].xyz, 1)
    assert np.abs(stored["depth"][0] - depth[2]).min() < 1e-4


def test_a_folder_that_is_there_is_not_touched(store: Path, tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine").touch()
    with pytest.raises(StoreError, match="exists already"):
        export_store(store, "colmap", tmp_path / "model")
    assert [p.name for p in tmp_path.rglob("*")] == ["model", "mine"]


def cloud_of(stored: Arrays, i: int) -> np.ndarray:
    points = unproject(stored["depth"][i], stored["camera/intrinsics"][i])[stored["depth"][i] > 0]
    return apply(invert(stored["camera/cam_from_world"][i]), points)


def test_ply_holds_every_pixel_of_the_chosen_frames(store: Path, stored: Arrays, tmp_path: Path):
    done = export_store(store, "ply", tmp_path / "clip.ply", stride=4)
    cloud = trimesh.load(tmp_path / "clip.ply")
    expected = np.concatenate([cloud_of(stored, 0), cloud_of(stored, 4)])
    assert done.frames == 2
    np.testing.assert_allclose(cloud.vertices, expected, atol=1e-5)  # float32 near 5 units
    colours = np.concatenate([stored["frames/rgb"][i][stored["depth"][i] > 0] for i in (0, 4)])
    assert np.array_equal(cloud.colors[:, :3], colours)


def test_ply_keeps_to_its_number_of_points(store: Path, tmp_path: Path):
    export_store(store, "ply", tmp_path / "clip.ply", stride=1, max_points=1000, colours=False)
    cloud = trimesh.load(tmp_path / "clip.ply")
    assert len(cloud.vertices) == 7 * (1000 // 7)
    assert (cloud.colors[:, :3] == 160).all()


def test_glb_is_y_up(store: Path, stored: Arrays, posed: np.ndarray, tmp_path: Path):
    export_store(store, "glb", tmp_path / "clip.glb", stride=4)
    scene = trimesh.load(tmp_path / "clip.glb")
    points = scene.geometry["points"].vertices
    expected = np.concatenate([cloud_of(stored, 0), cloud_of(stored, 4)]) * [1, -1, -1]
    np.testing.assert_allclose(points, expected, atol=1e-5)
    assert np.array_equal(scene.geometry["points"].colors[:9, :3], stored["frames/rgb"][0].reshape(-1, 3)[:9])
    centers = invert(stored["camera/cam_from_world"][posed])[:, :3, 3] * [1, -1, -1]
    pairs = np.repeat(centers, 2, axis=0)[1:-1]  # trimesh reads and writes a line as its pieces
    np.testing.assert_allclose(scene.geometry["cameras"].vertices, pairs, atol=1e-5)
