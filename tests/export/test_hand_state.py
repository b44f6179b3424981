"""The wrists as state and action of a LeRobot dataset, the unit of its depth, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from geoflow.errors import ConfigError, StoreError
from geoflow.export import export_store

SIDE = ["x", "y", "z", "r00", "r10", "r20", "r01", "r11", "r21", "valid"]
FIRST = 4  # the hand is seen from this frame on
SCALE = 2.5  # scene units per metre


@pytest.fixture
def told(store: Path, tmp_path: Path) -> Path:
    """A store whose left hand says its unit: the scene's, except in the last frame, in which it is in metres."""
    path = tmp_path / "told.h5"
    path.write_bytes(store.read_bytes())
    with h5py.File(path, "a") as file:
        scale = np.full(8, SCALE, np.float32)
        scale[:FIRST], scale[7] = np.nan, np.nan
        file["hands/left/scale"] = scale
        file["camera/valid"][5] = False
        file["camera/cam_from_world"][5] = np.nan
    return path


def exported(path: Path, out: Path, **options: object) -> tuple[dict, dict[str, np.ndarray], dict]:
    folder = export_store(path, "lerobot", out, max_tracks=5, **options).path
    table = pq.read_table(folder / "data/chunk-000/file-000.parquet")
    columns = {name: np.array(table[name].to_pylist()) for name in table.column_names if "images" not in name}
    info, stats = (json.loads((folder / "meta" / name).read_text()) for name in ("info.json", "stats.json"))
    return info["features"], columns, stats


def test_the_state_is_the_wrist_in_metres_and_the_action_is_the_next_one(told: Path, tmp_path: Path):
    features, rows, stats = exported(told, tmp_path / "a", state="hands")
    entry = features["observation.state"]
    assert entry["names"] == [f"left.{name}" for name in SIDE] and entry["shape"] == [10]  # no right hand in it
    assert features["action"] == entry and entry["info"] == {"unit": "m", "frame": "camera"}
    state, action = rows["observation.state"], rows["action"]
    with h5py.File(told) as file:
        wrist = file["hands/left/wrist"][FIRST:]
    per_metre = np.array([SCALE, SCALE, SCALE, 1])[:, None]
    np.testing.assert_allclose(state[FIRST:, :3], wrist[:, :3, 3] / per_metre, rtol=1e-6)
    np.testing.assert_allclose(state[FIRST:, 3:9], np.concatenate([wrist[:, :3, 0], wrist[:, :3, 1]], 1), rtol=1e-6)
    assert (state[:FIRST] == 0).all() and (state[FIRST:, 9] == 1).all()
    assert np.array_equal(action[:-1], state[1:]) and (action[-1] == 0).all()
    np.testing.assert_allclose(stats["observation.state"]["mean"][:9], state[FIRST:, :9].mean(0), atol=1e-6)


def test_in_the_world_a_wrist_needs_a_pose_and_the_scenes_unit(told: Path, tmp_path: Path):
    features, rows, _ = exported(told, tmp_path / "a", state="left", state_frame="world")
    assert features["action"]["info"] == {"unit": "scene", "frame": "world"}
    assert rows["observation.state"][:, 9].tolist() == [0, 0, 0, 0, 1, 0, 1, 0]  # 5 has no pose, 7 is in metres
    with h5py.File(told) as file:
        world = np.linalg.inv(file["camera/cam_from_world"][6]) @ file["hands/left/wrist"][6]
    np.testing.assert_allclose(rows["observation.state"][6, :3], world[:3, 3], rtol=1e-5)
    features, metres, _ = exported(told, tmp_path / "b", state="left", state_frame="world", metres_per_unit=0.5)
    assert features["action"]["info"]["unit"] == "m"
    np.testing.assert_allclose(metres["observation.state"][:, :3], 0.5 * rows["observation.state"][:, :3], rtol=1e-6)


def test_a_scale_that_is_known_gives_depth_its_unit(told: Path, tmp_path: Path):
    """Without one the unit is left out: LeRobot knows metres and millimetres alone."""
    features, rows, _ = exported(told, tmp_path / "a")
    assert "depth_unit" not in features["observation.images.depth"]["info"]
    scaled, found, stats = exported(told, tmp_path / "b", state="left", metres_per_unit=0.25)
    assert scaled["observation.images.depth"]["info"] == {"is_depth_map": True, "depth_unit": "m"}
    np.testing.assert_allclose(found["observation.tracks.xyz"], 0.25 * rows["observation.tracks.xyz"])
    pose, known = (np.array(part["observation.camera.cam_from_world"]) for part in (found, rows))
    np.testing.assert_allclose(pose[:, :3, 3], 0.25 * known[:, :3, 3])
    assert np.array_equal(pose[:, :, :3], known[:, :, :3]), "a rotation has no unit"
    with h5py.File(told) as file:
        np.testing.assert_allclose(
            found["observation.state"][6, :3], 0.25 * file["hands/left/wrist"][6, :3, 3], rtol=1e-6
        )
    _, _, plain = exported(told, tmp_path / "e")
    for name in ("min", "max", "mean"):
        depth = "observation.images.depth"
        assert np.ravel(stats[depth][name])[0] == pytest.approx(0.25 * np.ravel(plain[depth][name])[0], rel=1e-6)
    with h5py.File(told, "a") as file:
        file.attrs["metric"] = True
    features, _, _ = exported(told, tmp_path / "c")
    assert features["observation.images.depth"]["info"]["depth_unit"] == "m"
    with pytest.raises(ConfigError, match="is in metres already"):
        exported(told, tmp_path / "d", metres_per_unit=0.25)


def test_without_asking_there_is_neither_state_nor_action(told: Path, tmp_path: Path):
    features, rows, _ = exported(told, tmp_path / "a")
    assert not {"observation.state", "action"} & (set(features) | set(rows))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": "right"}, r"told.h5 holds no right hand, so there is no state to export; run a pipeline"),
        ({"state": "feet"}, r"state=feet: expected one of hands, left, right"),
        ({"state": "left", "state_frame": "hand"}, r"state_frame=hand: expected one of camera, world"),
    ],
)
def test_what_there_is_no_state_for(told: Path, tmp_path: Path, options: dict, message: str):
    with pytest.raises((StoreError, ConfigError), match=message):
        exported(told, tmp_path / "a", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["told.h5"]


def test_without_hands_or_their_unit_the_reason_is_named(store: Path, told: Path, tmp_path: Path):
    with pytest.raises(StoreError, match="does not say in which unit its hands are"):
        exported(store, tmp_path / "a", state="left")
    with h5py.File(told, "a") as file:
        file["camera/valid"][:] = False
    with pytest.raises(StoreError, match="no frame in which a hand has a place in the world"):
        exported(told, tmp_path / "a", state="left", state_frame="world")
    with h5py.File(told, "a") as file:
        del file["hands"]
    with pytest.raises(StoreError, match="holds no hand, so there is no state to export"):
        exported(told, tmp_path / "a", state="hands")
