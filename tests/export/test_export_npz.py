"""`tapip3d` and `tapvid3d`, read as their own tools read them."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from full_store import UNPOSED

from geoflow.errors import StoreError
from geoflow.export import export_store
from geoflow.export.npz import whole_npz
from geoflow.geometry.cameras import project
from geoflow.geometry.rigid import apply

Arrays = dict[str, np.ndarray]


def test_tapip3d_holds_the_posed_frames(store: Path, stored: Arrays, posed: np.ndarray, tmp_path: Path):
    done = export_store(store, "tapip3d", tmp_path / "clip.npz", queries=True)
    assert (done.frames, done.of) == (7, 8) and UNPOSED not in posed
    with np.load(tmp_path / "clip.npz", allow_pickle=False) as data:
        assert data["video"].dtype == np.uint8 and data["depths"].dtype == np.float32
        assert np.array_equal(data["frames"], posed)
        assert np.array_equal(data["video"], stored["frames/rgb"][posed])
        assert np.array_equal(data["depths"], stored["depth"][posed])
        assert np.array_equal(data["intrinsics"], stored["camera/intrinsics"][posed])
        assert np.array_equal(data["extrinsics"], stored["camera/cam_from_world"][posed])
        assert np.array_equal(data["query_point"], stored["tracks/query"])


def test_tapip3d_has_the_form_of_the_programs_results(store: Path, stored: Arrays, posed: np.ndarray, tmp_path: Path):
    store = Path(shutil.copy(store, tmp_path / "own.h5"))
    with h5py.File(store, "r+") as file:
        xyz, visible = file["tracks/xyz"][()], file["tracks/visible"][()]
        before = xyz[:, 1].copy()
        xyz[3:, 1], visible[3:, 1] = np.nan, False  # unknown from frame 3 on
        file["tracks/xyz"][...], file["tracks/visible"][...] = xyz, visible
    export_store(store, "tapip3d", tmp_path / "clip.result.npz", result=True)
    with np.load(tmp_path / "clip.result.npz", allow_pickle=False) as data:
        names = {"video", "depths", "intrinsics", "extrinsics", "coords", "visibs", "query_points", "frames"}
        assert set(data) == names
        assert data["video"].dtype == np.float32 and data["video"].shape[1] == 3
        assert np.allclose(data["video"] * 255, np.moveaxis(stored["frames/rgb"][posed], -1, 1), atol=1e-3)
        assert data["coords"].dtype == np.float32 and np.isfinite(data["coords"]).all()
        known = np.isfinite(stored["tracks/xyz"][posed]).all(-1)
        known[posed >= 3, 1] = False
        assert np.array_equal(data["coords"][known], stored["tracks/xyz"][posed][known])
        last = before[posed[posed < 3][-1]]
        assert (data["coords"][posed >= 3, 1] == last).all() and not data["visibs"][posed >= 3, 1].any()
        assert data["query_points"].shape == (data["coords"].shape[1], 4)
        assert (data["query_points"][:, 0] < len(posed)).all()
        assert np.array_equal(data["query_points"][:, 1:], stored["tracks/query"][:, 1:])


def test_tapip3d_by_strides(store: Path, stored: Arrays, tmp_path: Path):
    export_store(store, "tapip3d", tmp_path / "clip.npz", stride=2)
    with np.load(tmp_path / "clip.npz") as data:
        assert data["frames"].tolist() == [0, 2, 4, 6]
        assert np.array_equal(data["video"], stored["frames/rgb"][::2])
        assert "query_point" not in data


def test_tapvid3d_tracks_are_in_the_camera_of_each_frame(
    store: Path, stored: Arrays, posed: np.ndarray, tmp_path: Path
):
    export_store(store, "tapvid3d", tmp_path / "clip.npz")
    with np.load(tmp_path / "clip.npz", allow_pickle=False) as data:
        xyz, visible = data["tracks_XYZ"], data["visibility"]
        k = stored["camera/intrinsics"][0]
        assert np.allclose(data["fx_fy_cx_cy"], [k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5])
        for row, i in enumerate(posed):
            pose = stored["camera/cam_from_world"][i]
            known = np.isfinite(stored["tracks/xyz"][i]).all(-1)
            expected = apply(pose, stored["tracks/xyz"][i][known])
            np.testing.assert_allclose(xyz[row, known], expected, atol=1e-6)  # one float32 product
            picture = cv2.imdecode(np.frombuffer(data["images_jpeg_bytes"][row], np.uint8), cv2.IMREAD_COLOR)
            grey = cv2.cvtColor(stored["frames/rgb"][i], cv2.COLOR_RGB2GRAY).astype(float)
            assert np.abs(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) - grey).mean() < 3  # JPEG at quality 95
        assert np.array_equal(visible, stored["tracks/visible"][posed])
        assert np.isfinite(xyz).all()
        # The lost track rests in the world where it was last known.
        last = stored["tracks/xyz"][4, 0]
        np.testing.assert_allclose(xyz[-1, 0], apply(stored["camera/cam_from_world"][7], last), atol=1e-6)
        queries = data["queries_xyt"]
        assert (queries[:, 2] == 0).all()
        seen = project(xyz[0], k) + 0.5  # the benchmark's pixels
        np.testing.assert_allclose(queries[:, :2], seen, atol=2e-3)  # of float32 truth over a unit of depth


def test_a_zoom_does_not_fit_into_tapvid3d(store: Path, tmp_path: Path):
    path = tmp_path / "zoom.h5"
    path.write_bytes(store.read_bytes())
    with h5py.File(path, "a") as file:
        file["camera/intrinsics"][6, 0, 0] *= 1.5
    with pytest.raises(StoreError, match=r"zoom.h5 has focal lengths that differ by 50%.*another format"):
        export_store(path, "tapvid3d", tmp_path / "clip.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["zoom.h5"]


def test_pieces_that_do_not_fill_an_array_leave_no_file(tmp_path: Path):
    with (
        pytest.raises(ValueError, match="should have 6 values"),
        whole_npz(tmp_path / "a.npz") as npz,
    ):
        npz.stream("a", (3, 2), np.float32, [np.zeros(2)])
    assert not list(tmp_path.iterdir())


def test_streamed_arrays_are_numpys_own(tmp_path: Path):
    array = np.arange(24.0).reshape(2, 3, 4)
    with whole_npz(tmp_path / "a.npz") as npz:
        npz.stream("a", array.shape, np.float32, array)
        npz.array("name", np.array(["x"]))
    with np.load(tmp_path / "a.npz") as data:
        assert np.array_equal(data["a"], array) and data["a"].dtype == np.float32 and data["name"].tolist() == ["x"]
    assert zipfile.ZipFile(tmp_path / "a.npz").testzip() is None
