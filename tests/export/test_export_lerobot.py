"""`lerobot`, read as LeRobot's own reader does: pandas for tasks, Arrow for rows, PIL for depth, PyAV for the video."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from full_store import UNPOSED
from PIL import Image

from geoflow.export import export_store

pandas = pytest.importorskip("pandas")
Arrays = dict[str, np.ndarray]
DEPTH = "observation.images.depth"


@pytest.fixture(scope="module")
def dataset(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lerobot") / "room"
    assert export_store(store, "lerobot", out, task="look around", max_tracks=40).frames == 8
    return out


@pytest.fixture(scope="module")
def info(dataset: Path) -> dict[str, Any]:
    return json.loads((dataset / "meta/info.json").read_text())


def test_meta_leads_to_the_files(dataset: Path, info: dict[str, Any]):
    assert (info["codebase_version"], info["fps"], info["total_frames"]) == ("v3.0", 4, 8)
    tasks = pandas.read_parquet(dataset / "meta/tasks.parquet")
    assert tasks.iloc[0].name == "look around" and tasks["task_index"].tolist() == [0]
    (episode,) = pandas.read_parquet(dataset / "meta/episodes/chunk-000/file-000.parquet").to_dict("records")
    assert (episode["length"], episode["dataset_from_index"], episode["dataset_to_index"]) == (8, 0, 8)
    assert list(episode["tasks"]) == ["look around"]
    key = "observation.images.rgb"
    places = {"chunk_index": episode["data/chunk_index"], "file_index": episode["data/file_index"]}
    assert (dataset / info["data_path"].format(**places)).is_file()
    places = {name: episode[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
    assert (dataset / info["video_path"].format(video_key=key, **places)).is_file()


def test_every_column_is_a_feature_of_its_shape(dataset: Path, info: dict[str, Any]):
    rows = pandas.read_parquet(dataset / "data/chunk-000/file-000.parquet")
    features = {name: entry for name, entry in info["features"].items() if entry["dtype"] != "video"}
    assert set(rows.columns) == set(features) and len(rows) == 8
    for name, entry in features.items():
        if entry["dtype"] != "image":
            value = np.stack([np.array([*v], object) if np.ndim(v) else v for v in rows[name]][:1])[0]
            value = np.array(value.tolist() if isinstance(value, np.ndarray) else value)
            assert value.shape == (() if entry["shape"] == [1] else tuple(entry["shape"])), name
    assert not rows.drop(columns=[DEPTH]).map(lambda value: np.isnan(as_floats(value)).any()).any().any()


def as_floats(value: Any) -> np.ndarray:
    return np.array([as_floats(v) for v in value]) if isinstance(value, np.ndarray | list) else np.float64(value)


def test_values_are_the_stores(dataset: Path, stored: Arrays):
    rows = pandas.read_parquet(dataset / "data/chunk-000/file-000.parquet")
    for i, row in rows.iterrows():
        with Image.open(io.BytesIO(row[DEPTH]["bytes"])) as picture:
            assert np.array_equal(np.array(picture), stored["depth"][i])
        assert row["timestamp"] == pytest.approx(i / 4)
        assert row["observation.camera.valid"] == (i != UNPOSED)
        expected = np.nan_to_num(stored["camera/cam_from_world"][i])
        assert np.array_equal(as_floats(row["observation.camera.cam_from_world"]), expected)
        assert np.array_equal(as_floats(row["observation.camera.intrinsics"]), stored["camera/intrinsics"][i])
        every = np.sort(np.argsort(-stored["tracks/visible"].sum(0), kind="stable")[:40])
        assert np.array_equal(as_floats(row["observation.tracks.xyz"]), np.nan_to_num(stored["tracks/xyz"][i, every]))
        assert np.array_equal(row["observation.tracks.visible"], stored["tracks/visible"][i, every])
        joints = np.nan_to_num(stored["hands/left/joints"][i])
        assert np.array_equal(as_floats(row["observation.hands.left.joints"]), joints)
        assert row["observation.hands.left.valid"] == stored["hands/left/valid"][i]


def test_a_hand_model_goes_along(change: Any, tmp_path: Path) -> None:
    pose = np.random.default_rng(0).normal(size=(8, 16, 3)).astype(np.float32)
    pose[3] = np.nan

    def edit(file: Any) -> None:
        for name, value in {"mano_pose": pose, "betas": pose[:, :10, 0], "mano_scale": pose[:, 0, 0]}.items():
            if name in file["hands/left"]:
                del file["hands/left"][name]
            file["hands/left"][name] = value

    export_store(change(edit), "lerobot", tmp_path / "out")
    rows = pandas.read_parquet(tmp_path / "out/data/chunk-000/file-000.parquet")
    found = np.stack([as_floats(value) for value in rows["observation.hands.left.mano_pose"]])
    assert np.array_equal(found, np.nan_to_num(pose))
    assert rows["observation.hands.left.mano_scale"][0] == pose[0, 0, 0]
    assert np.array_equal(as_floats(rows["observation.hands.left.betas"][1]), pose[1, :10, 0])


def test_video_frames_are_at_their_time_stamps(dataset: Path, stored: Arrays):
    with av.open(str(dataset / "videos/observation.images.rgb/chunk-000/file-000.mp4")) as video:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in video.decode(video=0)]
    assert np.allclose([time for time, _ in frames], np.arange(8) / 4, atol=1e-4)  # LeRobot's own tolerance
    weights = np.array([0.299, 0.587, 0.114])
    for (_, found), expected in zip(frames, stored["frames/rgb"]):
        assert np.abs(found @ weights - expected @ weights).mean() < 3  # H.264 at quality 12; 1.6 measured


def test_statistics_count_only_what_is_known(dataset: Path, stored: Arrays):
    stats = json.loads((dataset / "meta/stats.json").read_text(), parse_constant=pytest.fail)  # no NaN
    known = stored["depth"][stored["depth"] > 0]
    entry = {name: np.ravel(value)[0] for name, value in stats[DEPTH].items()}
    assert entry["count"] == 8
    assert (entry["min"], entry["max"]) == (known.min(), known.max())
    assert entry["mean"] == pytest.approx(known.mean(dtype=float))
    assert entry["std"] == pytest.approx(known.std(dtype=float))
    poses = stored["camera/cam_from_world"]
    np.testing.assert_allclose(stats["observation.camera.cam_from_world"]["mean"], np.nanmean(poses, 0), atol=1e-6)
    rgb = stored["frames/rgb"][:, ::4, ::4] / 255
    np.testing.assert_allclose(np.ravel(stats["observation.images.rgb"]["mean"]), rgb.mean((0, 1, 2)))
    assert np.shape(stats["observation.images.rgb"]["mean"]) == (3, 1, 1)


def test_hugging_face_reads_the_rows(dataset: Path, info: dict[str, Any]):
    datasets = pytest.importorskip("datasets")
    features = {}
    for name, entry in info["features"].items():
        shape, dtype = entry["shape"], entry["dtype"]
        if dtype == "image":
            features[name] = datasets.Image()
        elif dtype != "video":
            value = datasets.Value(dtype)
            if len(shape) == 2:
                features[name] = datasets.Array2D(tuple(shape), dtype)
            else:
                features[name] = value if shape == [1] else datasets.Sequence(value, length=shape[0])
    path = str(dataset / "data/chunk-000/file-000.parquet")
    rows = datasets.Dataset.from_parquet(path, features=datasets.Features(features), cache_dir=str(dataset / "cache"))
    assert np.array(rows[5][DEPTH]).shape == (48, 64)
