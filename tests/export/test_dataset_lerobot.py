"""`lerobot` over a run: by the documented schema of version 3.0, and read by LeRobot's own reader."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from dataset_run import FAILED, FPS, INCOMPLETE, TRUNCATED
from exported import export, stored
from PIL import Image

from geoflow.export.dataset.rate import TOLERANCE_S
from geoflow.export.fitted import Fitted
from geoflow.export.lerobot_features import ACTION, DEPTH, RGB, STATE

pandas = pytest.importorskip("pandas")
pytestmark = pytest.mark.long
SIZE = (48, 64)
# What reads a dataset, beside what the tests have: without the packages that LeRobot needs for robots and training.
READER = (
    "lerobot==0.4.4",
    "datasets>=4,<5",
    "torchvision==0.28.0",
    "accelerate<2",
    "draccus==0.10.0",
    *("deepdiff", "dill", "einops", "httpx", "imageio", "jsonlines", "multiprocess", "psutil", "termcolor", "xxhash"),
)


@pytest.fixture(scope="module")
def dataset(dataset_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lerobot") / "out"
    status, said, _ = export(dataset_run, "lerobot", out, "--set", "max_tracks=40", processes=2)
    assert status == 3 and set(said["left_out"]) == {FAILED, INCOMPLETE, TRUNCATED}
    # Twenty videos; each of the two with missing frames is two episodes, each of the two at 8/s gives every 2nd frame.
    assert (said["videos"], said["episodes"], said["frames"]) == (20, 22, 152)
    return out


@pytest.fixture(scope="module")
def info(dataset: Path) -> dict[str, Any]:
    return json.loads((dataset / "meta/info.json").read_text())


@pytest.fixture(scope="module")
def episodes(dataset: Path) -> list[dict[str, Any]]:
    paths = sorted((dataset / "meta/episodes").rglob("*.parquet"))
    return [row for path in paths for row in pandas.read_parquet(path).to_dict("records")]


@pytest.fixture(scope="module")
def rows(dataset: Path) -> Any:
    return pandas.concat([pandas.read_parquet(path) for path in sorted((dataset / "data").rglob("*.parquet"))])


def source_frames(episode: dict[str, Any]) -> np.ndarray:
    return np.arange(episode["geoflow/start"], episode["geoflow/stop"], episode["geoflow/step"])


def as_floats(value: Any) -> np.ndarray:
    return np.array([as_floats(v) for v in value]) if isinstance(value, np.ndarray | list) else np.float64(value)


def test_episodes_and_rows_follow_each_other(rows: Any, episodes: list[dict[str, Any]], info: dict[str, Any]) -> None:
    assert info["codebase_version"] == "v3.0" and info["fps"] == FPS
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (22, 152, 20)
    assert info["splits"] == {"train": "0:20", "val": "20:22"}
    sides = [episode["geoflow/split"] for episode in episodes]
    assert sides == ["train"] * 20 + ["val"] * 2
    assert rows["index"].tolist() == list(range(152))
    assert [episode["episode_index"] for episode in episodes] == list(range(22))
    at = 0
    for episode in episodes:
        assert (episode["dataset_from_index"], episode["dataset_to_index"]) == (at, at + episode["length"])
        part = rows.iloc[at : at + episode["length"]]
        assert set(part["episode_index"]) == {episode["episode_index"]}
        assert part["frame_index"].tolist() == list(range(episode["length"]))
        assert len(source_frames(episode)) == episode["length"]
        at += episode["length"]
    assert at == 152


def test_no_video_is_on_both_sides(episodes: list[dict[str, Any]]) -> None:
    sides: dict[str, set[str]] = {}
    for episode in episodes:
        sides.setdefault(episode["geoflow/video"], set()).add(episode["geoflow/split"])
    assert len(sides) == 20 and all(len(found) == 1 for found in sides.values())


def test_tasks_lead_to_their_names(dataset: Path, rows: Any, episodes: list[dict[str, Any]]) -> None:
    tasks = pandas.read_parquet(dataset / "meta/tasks.parquet")
    for episode in episodes:
        number = rows.iloc[episode["dataset_from_index"]]["task_index"]
        assert tasks.iloc[number].name == episode["tasks"][0] == episode["geoflow/video"]


def test_time_stamps_are_true_within_the_tolerance(
    rows: Any, episodes: list[dict[str, Any]], dataset_run: Path
) -> None:
    for episode in episodes:
        part = rows.iloc[episode["dataset_from_index"] : episode["dataset_to_index"]]
        times = stored(dataset_run, episode["geoflow/video"])["frames/time"][source_frames(episode)]
        assert np.array_equal(part["observation.source_time"], times)
        steps = np.diff(part["timestamp"].to_numpy().astype(float))
        assert np.abs(steps - 1 / FPS).max() < TOLERANCE_S  # what LeRobot asks of a dataset
        if not episode["geoflow/video"].endswith("milliseconds"):  # whose times are off by up to 3 ms in themselves
            np.testing.assert_allclose(part["timestamp"], times - times[0], atol=1e-6)


def test_values_are_the_stores(rows: Any, episodes: list[dict[str, Any]], dataset_run: Path) -> None:
    for episode in episodes:
        expected = stored(dataset_run, episode["geoflow/video"])
        fitted = Fitted(expected["depth"].shape[1:], SIZE)
        frames = source_frames(episode)
        for i, row in zip(frames, rows.iloc[episode["dataset_from_index"] :].to_dict("records")):
            with Image.open(io.BytesIO(row[DEPTH]["bytes"])) as picture:
                assert np.array_equal(np.array(picture), fitted.depth(expected["depth"][i]))
            assert row["observation.metric"] == episode["geoflow/video"].endswith("metric")
            if "camera/valid" not in expected:
                assert not row["observation.camera.valid"] and not as_floats(row["observation.camera.intrinsics"]).any()
                continue
            pose = np.nan_to_num(expected["camera/cam_from_world"][i])
            assert np.array_equal(as_floats(row["observation.camera.cam_from_world"]), pose)
            k = fitted.intrinsics(expected["camera/intrinsics"][i])
            assert np.array_equal(as_floats(row["observation.camera.intrinsics"]), k)
            check_tracks(row, expected, frames, i)
            hand = expected.get("hands/left/joints", np.full((8, 21, 3), np.nan, np.float32))
            assert np.array_equal(as_floats(row["observation.hands.left.joints"]), np.nan_to_num(hand[i]))


def check_tracks(row: dict[str, Any], expected: dict[str, np.ndarray], frames: np.ndarray, i: int) -> None:
    xyz, visible = as_floats(row["observation.tracks.xyz"]), np.array(row["observation.tracks.visible"])
    assert xyz.shape == (40, 3) and visible.shape == (40,)
    if "tracks/xyz" not in expected:
        assert not xyz.any() and not visible.any()
        return
    seen = expected["tracks/visible"][frames].sum(0)
    every = np.sort(np.argsort(-seen, kind="stable")[:40])
    assert np.array_equal(xyz[: len(every)], np.nan_to_num(expected["tracks/xyz"][i, every]))
    assert np.array_equal(visible[: len(every)], expected["tracks/visible"][i, every])
    assert not visible[len(every) :].any()


def test_video_frames_are_at_their_time_stamps(
    dataset: Path, rows: Any, episodes: list[dict[str, Any]], info: dict[str, Any], dataset_run: Path
) -> None:
    files: dict[str, list[tuple[float, np.ndarray]]] = {}
    for episode in episodes:
        places = {name: episode[f"videos/{RGB}/{name}"] for name in ("chunk_index", "file_index")}
        path = info["video_path"].format(video_key=RGB, **places)
        if path not in files:
            with av.open(str(dataset / path)) as video:
                files[path] = [(f.time, f.to_ndarray(format="rgb24")) for f in video.decode(video=0)]
        begin, end = (episode[f"videos/{RGB}/{name}_timestamp"] for name in ("from", "to"))
        found = [(time, rgb) for time, rgb in files[path] if begin - 1e-6 <= time < end - 1e-6]
        stamps = rows.iloc[episode["dataset_from_index"] : episode["dataset_to_index"]]["timestamp"]
        np.testing.assert_allclose([time - begin for time, _ in found], stamps, atol=TOLERANCE_S)
        expected = stored(dataset_run, episode["geoflow/video"])["frames/rgb"][source_frames(episode)]
        check_pictures([rgb for _, rgb in found], expected)
    assert sum(map(len, files.values())) == 152


def check_pictures(found: list[np.ndarray], expected: np.ndarray) -> None:
    weights = np.array([0.299, 0.587, 0.114])
    fitted = Fitted(expected.shape[1:3], SIZE)
    for rgb, true in zip(found, map(fitted.picture, expected), strict=True):
        assert np.abs(rgb @ weights - true @ weights).mean() < 3  # H.264 at quality 12


def test_statistics_are_of_all_episodes(dataset: Path, rows: Any, episodes: list[dict[str, Any]]) -> None:
    stats = json.loads((dataset / "meta/stats.json").read_text(), parse_constant=pytest.fail)  # no NaN
    assert stats["index"] == {"min": [0], "max": [151], "mean": [75.5], "std": [pytest.approx(43.877, abs=1e-3)]} | {
        "count": [152]
    }
    poses = np.stack([as_floats(value) for value in rows["observation.camera.cam_from_world"]])
    known = rows["observation.camera.valid"].to_numpy()
    found = stats["observation.camera.cam_from_world"]
    np.testing.assert_allclose(found["mean"], poses[known].mean(0), atol=1e-6)
    np.testing.assert_allclose(found["std"], poses[known].std(0), atol=1e-6)
    depths = []
    for row in rows[DEPTH]:
        with Image.open(io.BytesIO(row["bytes"])) as picture:
            depths.append(np.array(picture))
    values = np.stack(depths)
    values = values[values > 0].astype(float)
    assert np.ravel(stats[DEPTH]["mean"])[0] == pytest.approx(values.mean())
    assert np.ravel(stats[DEPTH]["std"])[0] == pytest.approx(values.std())
    lengths = [np.ravel(episode["stats/timestamp/count"])[0] for episode in episodes]
    assert lengths == [episode["length"] for episode in episodes]


def test_files_are_limited_in_size(dataset_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import geoflow.export.dataset.lerobot_dataset as module

    monkeypatch.setattr(module, "DATA_MB", 0.4)
    monkeypatch.setattr(module, "VIDEO_MB", 0.05)
    export(dataset_run, "lerobot", tmp_path / "out")
    data = sorted((tmp_path / "out" / "data").rglob("*.parquet"))
    videos = sorted((tmp_path / "out" / "videos").rglob("*.mp4"))
    assert len(data) > 2 and len(videos) > 2
    episodes = pandas.read_parquet(tmp_path / "out" / "meta/episodes/chunk-000/file-000.parquet").to_dict("records")
    for episode in episodes:
        path = tmp_path / "out" / f"data/chunk-000/file-{episode['data/file_index']:03d}.parquet"
        rows = pandas.read_parquet(path)
        assert (rows["episode_index"] == episode["episode_index"]).sum() == episode["length"]
    assert len({episode[f"videos/{RGB}/file_index"] for episode in episodes}) == len(videos)


def test_a_state_has_the_hands_of_all_videos(dataset_run: Path, tmp_path: Path) -> None:
    status, said, _ = export(dataset_run, "lerobot", tmp_path / "out", "--set", "state=hands", "--set", "fps=8")
    # At 8 a second, only the two fast ones are left; others are named with the remedy.
    assert status == 3 and said["videos"] == 2 and said["frames"] == 16
    assert "one rate, here 8; run it again with --fps 8" in said["left_out"]["00_plain"]
    assert "holds no hand" in said["left_out"]["01_handless"]
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert info["features"][STATE]["names"] == [f"left.{part}" for part in PARTS]
    rows = pandas.read_parquet(tmp_path / "out/data/chunk-000/file-000.parquet")
    state, action = (np.stack(rows[name]) for name in (STATE, ACTION))
    for first in (0, 8):
        assert np.array_equal(action[first : first + 7], state[first + 1 : first + 8])
        assert not action[first + 7].any()  # what follows is another episode


PARTS = ("x", "y", "z", "r00", "r10", "r20", "r01", "r11", "r21", "valid")


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has LeRobot's reader, on top of this one."""
    folder = tmp_path_factory.mktemp("reader")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    ours = [path for path in sys.path if path.endswith("site-packages")]
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, capture_output=True
    )
    (Path(where.stdout.decode().strip()) / "zz_tests.pth").write_text("\n".join(ours))
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", *READER]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"LeRobot's reader cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")
    return python


@pytest.mark.env
@pytest.mark.slow
def test_lerobots_own_reader(
    reader: Path, dataset: Path, rows: Any, episodes: list[dict[str, Any]], dataset_run: Path, tmp_path: Path
) -> None:
    script = Path(__file__).parents[1] / "support" / "read_lerobot.py"
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    command = [reader, str(script), str(dataset), str(tmp_path / "items.npz")]
    done = subprocess.run(command, capture_output=True, text=True, env=offline, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads((tmp_path / "items.json").read_text())
    assert said["fps"] == FPS and said["episodes"] == 22 and said["part"] == 1
    assert said["splits"] == {"train": "0:20", "val": "20:22"}
    with np.load(tmp_path / "items.npz") as items:
        found = dict(items)
    assert len(found["index"]) == 152
    for episode in episodes:
        part = slice(episode["dataset_from_index"], episode["dataset_to_index"])
        frames, expected = source_frames(episode), stored(dataset_run, episode["geoflow/video"])
        fitted = Fitted(expected["depth"].shape[1:], SIZE)
        assert said["tasks"][part] == [episode["geoflow/video"]] * episode["length"]
        assert set(found["episode_index"][part]) == {episode["episode_index"]}
        rgb = np.rint(255 * np.moveaxis(found[RGB][part], 1, -1))
        check_pictures(list(rgb), expected["frames/rgb"][frames])
        # One step back; the first frame of an episode has none before it, and LeRobot repeats it.
        before = np.rint(255 * np.moveaxis(found["before"][part], 1, -1))
        assert np.array_equal(before, rgb[np.maximum(np.arange(len(rgb)) - 1, 0)])
        depth = np.stack([fitted.depth(expected["depth"][i]) for i in frames])
        assert np.array_equal(found[DEPTH][part][:, 0], depth)
        if "camera/cam_from_world" in expected:
            poses = np.nan_to_num(expected["camera/cam_from_world"][frames])
            assert np.array_equal(found["observation.camera.cam_from_world"][part], poses)
    np.testing.assert_allclose(found["timestamp"], rows["timestamp"].to_numpy(), atol=0)
