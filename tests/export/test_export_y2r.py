"""`y2r`: the values of a window against the store's, and statistics over a folder."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from geoflow.errors import StoreError
from geoflow.export import export_store
from geoflow.export.statistics import Moments
from geoflow.export.y2r import STATISTICS_FILE

Arrays = dict[str, np.ndarray]
SIZE = 24  # of a middle square of 48


@pytest.fixture(scope="module")
def folder(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("y2r")
    done = export_store(store, "y2r", folder / "a.hdf5", num_track_ts=3, target_size=SIZE, text="a room")
    assert done.frames == 8
    return folder


def test_the_layout(folder: Path, stored: Arrays):
    with h5py.File(folder / "a.hdf5") as file:
        root = file["root"]
        assert set(root) == {
            "video", "depth", "intrinsics", "num_frames", "num_track_ts", "track_type", "text", "tracks",
        }  # fmt: skip
        assert root["video"].shape == (8, 3, SIZE, SIZE) and root["video"].dtype == np.uint8
        assert root["depth"].shape == (8, SIZE, SIZE) and root["depth"].dtype == np.float32
        assert root["num_frames"][()] == 8 and root["num_track_ts"][()] == 3
        assert root["track_type"].asstr()[()] == "3d" and root["text"].asstr()[()] == "a room"
        assert list(root["tracks"]) == ["frame_0000", "frame_0004", "frame_0005"]  # frame 3 has no pose
        assert set(root["tracks/frame_0000"]) == {"query_coords", "displacements", "poses"}
        # Half the size, nearest: every second pixel of the middle square, and the mean of two by two of its colours.
        assert np.array_equal(root["depth"][2], stored["depth"][2][::2, 8:56:2])
        mean = stored["frames/rgb"][2][:, 8:56].reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3))
        assert np.abs(root["video"][2].transpose(1, 2, 0) - mean).max() <= 1


def test_a_window_tells_where_the_tracks_go(folder: Path, stored: Arrays):
    t, window = 4, slice(4, 7)
    with h5py.File(folder / "a.hdf5") as file:
        k = file["root/intrinsics"][()].astype(float)
        group = file["root/tracks/frame_0004"]
        query, moves, poses = (group[name][()].astype(float) for name in ("query_coords", "displacements", "poses"))
    first = stored["camera/cam_from_world"][t].astype(float)
    xyz = stored["tracks/xyz"][window] @ first[:3, :3].T + first[:3, 3]
    uv = (xyz @ k.T)[..., :2] / xyz[..., 2:] / SIZE
    inside = (stored["tracks/visible"][t] & ((uv >= 0) & (uv <= 1)).all(-1)).all(0)
    assert 20 < inside.sum() == len(query)
    expected = np.concatenate([uv, xyz[..., 2:]], -1)[:, inside]
    np.testing.assert_allclose(query, expected[0], atol=1e-6)
    np.testing.assert_allclose(moves, expected - expected[0], atol=1e-6)
    # u, v are the pixels that the store gives, cropped and shrunk
    uv_px = stored["tracks/uv"][t][inside]
    np.testing.assert_allclose(query[:, :2], (uv_px + 0.5 - [8, 0]) / 48, atol=1e-4)
    relative = stored["camera/cam_from_world"][window] @ np.linalg.inv(first)
    columns = np.concatenate([relative[:, :3, 0], relative[:, :3, 1], relative[:, :3, 3]], -1)
    np.testing.assert_allclose(poses, columns, atol=1e-6)
    np.testing.assert_allclose(poses[0], [1, 0, 0, 0, 1, 0, 0, 0, 0], atol=1e-6)


def test_hands_of_a_window(folder: Path, stored: Arrays):
    with h5py.File(folder / "a.hdf5") as file:
        k = file["root/intrinsics"][()].astype(float)
        group = file["root/tracks/frame_0004"]
        assert not any(name.startswith("right") for name in group)
        found = {name: group[f"left_wrist_{name}"][()] for name in (
            "query_uvd", "uvd_displacements", "query_rot_6d", "rot_displacements"
        )}  # fmt: skip
    wrist = stored["hands/left/wrist"][4:7].astype(float)
    at = wrist[:, :3, 3] @ k.T
    uvd = np.column_stack([at[:, :2] / at[:, 2:] / SIZE, at[:, 2]])
    np.testing.assert_allclose(found["query_uvd"], uvd[0], atol=1e-6)
    np.testing.assert_allclose(found["uvd_displacements"], uvd - uvd[0], atol=1e-6)
    np.testing.assert_allclose(found["query_rot_6d"], wrist[0, :3, :2].T.reshape(6), atol=1e-6)
    c, s = np.cos(0.2), np.sin(0.2)  # the hand turns by 0.1 a frame
    np.testing.assert_allclose(found["rot_displacements"][2], [c, s, 0, -s, c, 0], atol=1e-6)


def test_statistics_are_those_of_all_files_of_the_folder(folder: Path, store: Path):
    export_store(store, "y2r", folder / "b.hdf5", num_track_ts=2, target_size=SIZE)
    stats = yaml.safe_load((folder / STATISTICS_FILE).read_text())
    moves, poses, depths, hands = [], [], [], []
    for name in ("a", "b"):
        with h5py.File(folder / f"{name}.hdf5") as file:
            maps = file["root/depth"][()]
            depths.append(maps[maps > 0])
            for group in file["root/tracks"].values():
                moves.append(group["displacements"][()].reshape(-1, 3))
                poses.append(group["poses"][()])
                depths.append(group["query_coords"][()][:, 2])
                if "left_wrist_uvd_displacements" in group:
                    hands.append(group["left_wrist_uvd_displacements"][()])
    for key, rows in {"displacement": moves, "pose": poses, "depth": depths, "hand_uvd_disp": hands}.items():
        rows = np.concatenate(rows).astype(float)
        np.testing.assert_allclose(stats[f"{key}_mean"], rows.mean(0), atol=1e-6)
        np.testing.assert_allclose(stats[f"{key}_std"], rows.std(0), atol=1e-6)
    assert stats["displacement_num_samples"] == sum(map(len, moves))
    assert stats["track_type"] == "3d" and stats["track_dim"] == 3


def test_windows_longer_than_any_stretch_of_poses(store: Path, tmp_path: Path):
    with pytest.raises(StoreError, match=r"does not have 6 frames with a pose in a row.*num_track_ts"):
        export_store(store, "y2r", tmp_path / "a.hdf5", num_track_ts=6)
    assert not list(tmp_path.iterdir())


def test_moments_in_pieces_are_those_of_the_whole():
    rows = np.random.default_rng(0).normal(5, 2, (100, 3))
    rows[3, 1] = np.nan
    moments = Moments(3)
    for piece in np.split(rows, [1, 40, 40]):
        moments.add(piece)
    np.testing.assert_allclose(moments.mean, np.nanmean(rows, 0))
    np.testing.assert_allclose(moments.std, np.nanstd(rows, 0))
    assert moments.count.tolist() == [100, 99, 100]
    np.testing.assert_array_equal(moments.low, np.nanmin(rows, 0))
    np.testing.assert_array_equal(moments.high, np.nanmax(rows, 0))
