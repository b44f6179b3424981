"""Hands in metres and hands in scene units, in one store: each reader and each format tells which they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
from hands_store import write_hands_store
from test_export_clips import read_rrd

import geoflow
from geoflow.export import export_store
from geoflow.report.overlays import hands_overlay
from geoflow.store.verify import verify_store

IN_METRES, IN_SCENE = [4, 5], [6, 7]  # of the frames with a hand
PER_METRE = np.float32(2.5)  # scene units


@pytest.fixture
def mixed(store: Path, tmp_path: Path) -> Path:
    path = tmp_path / "clip.h5"
    shutil.copy(store, path)
    scale = np.full(8, np.nan, np.float32)
    scale[IN_SCENE] = PER_METRE
    with h5py.File(path, "a") as file:
        file["hands/left/scale"] = scale
        file.attrs["metric"] = False
    return path


def test_the_view_tells_the_unit_of_each_frame(mixed: Path, store: Path) -> None:
    with geoflow.open(mixed) as video:
        hand = video.hands.left
        assert hand.scale is not None and np.isnan(hand.scale[IN_METRES]).all()
        np.testing.assert_array_equal(hand.metres_per_unit[IN_METRES], 1)
        np.testing.assert_array_equal(hand.metres_per_unit[IN_SCENE], 1 / PER_METRE)
        assert np.isnan(hand.metres_per_unit[:4]).all()
        np.testing.assert_array_equal(hand.joints_m[IN_METRES], hand.joints[IN_METRES])
        np.testing.assert_allclose(hand.joints_m[IN_SCENE], hand.joints[IN_SCENE] / PER_METRE, rtol=1e-6)
        assert np.flatnonzero(hand.in_scene_units(metric=False)).tolist() == IN_SCENE
        assert np.flatnonzero(hand.in_scene_units(metric=True)).tolist() == [*IN_METRES, *IN_SCENE]
    with geoflow.open(store) as video:  # of an earlier version
        assert video.hands.left.scale is video.hands.left.joints_m is None
        assert video.hands.left.in_scene_units(metric=False).sum() == 4


def test_y2r_leaves_out_hands_that_have_no_depth_of_the_scene(mixed: Path, tmp_path: Path) -> None:
    export_store(mixed, "y2r", tmp_path / "a.hdf5", num_track_ts=2, target_size=24)
    with h5py.File(tmp_path / "a.hdf5") as file:
        held = [name for name, group in file["root/tracks"].items() if "left_wrist_query_uvd" in group]
        assert held == ["frame_0006"] and file["root"].attrs["hand_uvd_num_samples"] == 2
        assert file["root"].attrs["hands_left_out"] == 2 and file["root"].attrs["unit"] == "scene"  # from 4 and 5 on
    with h5py.File(mixed, "a") as file:
        file.attrs["metric"] = True
    export_store(mixed, "y2r", tmp_path / "m" / "a.hdf5", num_track_ts=2, target_size=24)
    with h5py.File(tmp_path / "m" / "a.hdf5") as file:
        assert "left_wrist_query_uvd" in file["root/tracks/frame_0004"] and file["root"].attrs["unit"] == "m"


def test_lerobot_has_the_factor_to_metres(mixed: Path, store: Path, tmp_path: Path) -> None:
    name = "observation.hands.left.metres_per_unit"
    export_store(mixed, "lerobot", tmp_path / "set")
    rows = pandas.read_parquet(tmp_path / "set/data/chunk-000/file-000.parquet")
    np.testing.assert_array_equal(rows[name], np.float32([0] * 4 + [1] * 2 + [1 / PER_METRE] * 2))
    assert json.loads((tmp_path / "set/meta/info.json").read_text())["features"][name]["shape"] == [1]
    export_store(store, "lerobot", tmp_path / "older")
    assert name not in json.loads((tmp_path / "older/meta/info.json").read_text())["features"]


def test_rerun_puts_hands_in_metres_outside_of_the_world(mixed: Path, tmp_path: Path) -> None:
    export_store(mixed, "rerun", tmp_path / "clip.rrd", images=False, depth=False)
    found = read_rrd(tmp_path / "clip.rrd")
    assert sorted(found["/world/camera/hands/left", "Points3D:positions"]) == IN_SCENE
    assert sorted(found["/hands_in_metres/left", "Points3D:positions"]) == IN_METRES
    assert IN_METRES[0] in found["/world/camera/hands/left", "Clear:is_recursive"]


def test_rerun_has_the_surface_of_a_hand_model(mixed: Path, tmp_path: Path) -> None:
    path = tmp_path / "with.h5"
    path.write_bytes(mixed.read_bytes())
    with h5py.File(path, "a") as file:
        valid = file["hands/left/valid"][()]
        file["hands/left/vertices"] = np.where(valid[:, None, None], np.ones((len(valid), 778, 3)), np.nan)
    export_store(path, "rerun", tmp_path / "clip.rrd", images=False, depth=False)
    found = read_rrd(tmp_path / "clip.rrd")
    assert sorted(found["/world/camera/hands/left/surface", "Points3D:positions"]) == IN_SCENE
    export_store(mixed, "rerun", tmp_path / "plain.rrd", images=False, depth=False)
    assert ("/world/camera/hands/left/surface", "Points3D:positions") not in read_rrd(tmp_path / "plain.rrd")


def test_a_photo_keeps_its_hands_to_the_end(tmp_path: Path) -> None:
    path = write_hands_store(tmp_path, num_frames=1)
    assert verify_store(path) == []
    with geoflow.open(path) as video:
        assert len(video) == 1 and video.hands.all.numbers == [1] and video.hands.left.valid.tolist() == [True]
        assert hands_overlay(video, 0)[1] == ["left hand 90 %"] and "hands in 1 frame" in video.recovered
    export_store(path, "rerun", tmp_path / "clip.rrd", images=False, depth=False)
    assert [*read_rrd(tmp_path / "clip.rrd")["/world/camera/hands/left", "Points3D:positions"]] == [0]
    with h5py.File(path, "a") as file:
        file["frames/rgb"] = np.zeros((1, 12, 16, 3), np.uint8)
    export_store(path, "lerobot", tmp_path / "set")
    rows = pandas.read_parquet(tmp_path / "set/data/chunk-000/file-000.parquet")
    assert len(rows) == 1 and rows["observation.hands.left.valid"].tolist() == [True]


def test_rerun_has_further_hands_by_their_number(tmp_path: Path) -> None:
    path = write_hands_store(tmp_path)
    with geoflow.open(path) as video:
        hands = video.hands
        assert [len(hands.further(i)) for i in (5, 9, 23)] == [0, 1, 1]
        number = int(hands.all.id[9, hands.further(9)[0]])
        there = [i for i in range(40) if number in hands.all.id[i, hands.further(i)]]
    export_store(path, "rerun", tmp_path / "clip.rrd", images=False, depth=False)
    found = read_rrd(tmp_path / "clip.rrd")
    name = f"/world/camera/hands/further/{number}"
    assert sorted(found[name, "Points3D:positions"]) == there and 8 in there and 27 in there
    assert 28 in found[name, "Clear:is_recursive"], "it is gone"
