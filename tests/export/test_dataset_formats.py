"""One command over a run of twenty videos of ten kinds and three broken ones: read back, values equal the stores'."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from dataset_run import FAILED, INCOMPLETE, TRUNCATED
from exported import export, stored

from geoflow.export.dataset.writing import RECORD
from geoflow.export.y2r import STATISTICS_FILE

pytestmark = pytest.mark.long
BROKEN = {FAILED: "failed: no frame can be decoded", TRUNCATED: "is not a whole HDF5 file", INCOMPLETE: "incomplete: 1"}
TRACKLESS = {"02_trackless", "12_trackless", "09_cameraless", "19_cameraless"}


def record_of(out: Path) -> dict:
    return json.loads((out / RECORD).read_text())


@pytest.fixture(scope="module")
def webdataset(dataset_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "out"
    status, said, _ = export(dataset_run, "webdataset", out, "--set", "picture=png", "--set", "shard_mb=1")
    assert status == 3 and said["videos"] == 20 and said["splits"] == {"train": "0:18", "val": "18:20"}
    return out


def test_broken_videos_are_named_and_left_out(webdataset: Path) -> None:
    left_out = record_of(webdataset)["left_out"]
    assert set(left_out) == set(BROKEN)
    assert all(BROKEN[name] in reason for name, reason in left_out.items())
    videos = record_of(webdataset)["videos"]
    assert len(videos) == 20 and all(entry == {"frames": 8, "of": 8} for entry in videos.values())
    assert not webdataset.with_name("out.part").exists()


def test_shards_read_back_with_the_standard_library(webdataset: Path, dataset_run: Path) -> None:
    shards = sorted(path.name for path in webdataset.glob("*.tar"))
    # 100 to 150 KB an episode: no shard has more than 1 MB, and each but the last has more than half of it.
    assert len([name for name in shards if name.startswith("train-")]) >= 2 and "val-000000.tar" in shards
    assert all((webdataset / name).stat().st_size < 1.02e6 for name in shards)
    seen: list[tuple[str, int]] = []
    for name in shards:
        with tarfile.open(webdataset / name) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
        keys = list(dict.fromkeys(member.partition(".")[0] for member in members))
        index = json.loads((webdataset / f"{name.partition('-')[0]}.json").read_text())
        assert {"url": name, "nsamples": len(keys)} in index["shardlist"]
        for key in keys:
            said = json.loads(members[f"{key}.json"])
            check_sample(members, key, said, stored(dataset_run, said["video"]))
            seen.append((said["video"], said["frame"]))
    assert len(seen) == len(set(seen)) == 160
    videos = list(dict.fromkeys(video for video, _ in seen))
    assert seen == [(video, i) for video in videos for i in range(8)]  # the frames of an episode are in order


def check_sample(members: dict[str, bytes], key: str, said: dict, expected: dict[str, np.ndarray]) -> None:
    import cv2

    i = said["frame"]
    rgb = cv2.imdecode(np.frombuffer(members[f"{key}.png"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(rgb, expected["frames/rgb"][i])
    assert np.array_equal(np.load(io.BytesIO(members[f"{key}.depth.npy"])), expected["depth"][i].astype(np.float16))
    assert said["time"] == expected["frames/time"][i] and said["last"] == (i == 7)
    with np.load(io.BytesIO(members[f"{key}.arrays.npz"])) as arrays:
        for name in ("camera/cam_from_world", "camera/valid", "tracks/xyz", "tracks/uv", "hands/left/wrist"):
            if name in expected:
                assert np.array_equal(arrays[name.replace("/", ".")], expected[name][i], equal_nan=True), name
            else:
                assert name.replace("/", ".") not in arrays


def test_webdataset_decodes_the_shards_by_itself(webdataset: Path, dataset_run: Path) -> None:
    wds = pytest.importorskip("webdataset")
    urls = [str(path) for path in sorted(webdataset.glob("train-*.tar"))]
    samples = list(wds.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    assert len(samples) == 144
    for sample in samples[::7]:
        expected, i = stored(dataset_run, sample["json"]["video"]), sample["json"]["frame"]
        assert np.array_equal(sample["png"], expected["frames/rgb"][i])
        assert np.array_equal(sample["depth.npy"], expected["depth"][i].astype(np.float16))


def test_zarr_opens_the_hierarchy(dataset_run: Path, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", minversion="3")
    status, said, _ = export(dataset_run, "zarr", tmp_path / "out", "--val", "0.25", "--seed", "5")
    assert status == 3 and said["splits"] == {"train": "0:15", "val": "15:20"}
    root = zarr.open_group(str(tmp_path / "out"), mode="r")
    assert root.metadata.zarr_format == 3
    assert dict(root.attrs) == {"splits": {"train": "0:15", "val": "15:20"}, "num_episodes": 20}
    for number, entry in enumerate(record_of(tmp_path / "out")["episodes"]):
        group = root[f"episodes/{number:06d}"]
        assert group.attrs["video"] == entry["video"] and group.attrs["split"] == entry["split"]
        expected = stored(dataset_run, entry["video"])
        rgb = group["rgb"]
        assert rgb.chunks == (1, *rgb.shape[1:]) and rgb.shards == (8, *rgb.shape[1:])
        assert np.array_equal(rgb[:], expected["frames/rgb"])
        assert np.array_equal(group["depth"][:], expected["depth"].astype(np.float16))
        for name in ("frames/time", "frames/index", "camera/intrinsics", "camera/cam_from_world", "tracks/xyz"):
            if name in expected:
                np.testing.assert_array_equal(group[name][:], expected[name], err_msg=name)
            else:
                assert name not in group
        assert group.attrs["metric"] == entry["video"].endswith("metric")


def test_a_shard_is_no_larger_than_asked_for(dataset_run: Path, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", minversion="3")
    from geoflow.export.dataset.zarr_dataset import _Column

    group = zarr.open_group(str(tmp_path), mode="w", zarr_format=3)
    rows = np.random.default_rng(0).integers(0, 255, (25, 40, 50), np.uint8)
    column = _Column.created(group, "a", rows[0], 25, 10_000)  # five rows of 2,000 bytes
    for row in rows:
        column.add(row)
        assert len(column.waiting) < 5
    column.flush()
    assert group["a"].shards == (5, 40, 50) and np.array_equal(group["a"][:], rows)
    assert len([path for path in (tmp_path / "a" / "c").rglob("*") if path.is_file()]) == 5


def test_y2r_has_a_folder_for_each_side_and_the_training_statistics(dataset_run: Path, tmp_path: Path) -> None:
    options = ("--set", "num_track_ts=3", "--set", "target_size=24")
    (tmp_path / "texts.csv").write_text("video,text\n00_plain,look around\n")
    texts = ("--set", f"texts={tmp_path / 'texts.csv'}", "--set", "text=nothing")
    status, said, _ = export(dataset_run, "y2r", tmp_path / "out", *options, *texts)
    assert status == 3 and said["videos"] == 16 and set(said["left_out"]) == {*BROKEN, *TRACKLESS}
    assert "holds no tracks" in said["left_out"]["02_trackless"]
    files = {path.stem: path for path in (tmp_path / "out").rglob("*.hdf5")}
    assert len(files) == 16
    moves = []
    for name, path in files.items():
        expected = stored(dataset_run, name)
        with h5py.File(path) as file:
            root = file["root"]
            assert root["num_frames"][()] == 8
            assert root["text"].asstr()[()] == ("look around" if name == "00_plain" else "nothing")
            check_window(root, expected)
            if path.parent.name == "train":
                moves += [group["displacements"][()].reshape(-1, 3) for group in root["tracks"].values()]
    stats = [yaml.safe_load((tmp_path / "out" / side / STATISTICS_FILE).read_text()) for side in ("train", "val")]
    assert stats[0] == stats[1]
    rows = np.concatenate(moves).astype(float)
    np.testing.assert_allclose(stats[0]["displacement_mean"], rows.mean(0), atol=1e-6)
    np.testing.assert_allclose(stats[0]["displacement_std"], rows.std(0), atol=1e-6)


def check_window(root: h5py.Group, expected: dict[str, np.ndarray]) -> None:
    """The window at frame 4, which every video has: depths of the tracks in its camera, from the world's points."""
    group = root["tracks/frame_0004"]
    pose = expected["camera/cam_from_world"][4].astype(float)
    depth = (expected["tracks/xyz"][4] @ pose[:3, :3].T + pose[:3, 3])[:, 2]
    known = np.sort(depth[np.isfinite(depth)])
    found = group["query_coords"][()][:, 2]
    assert len(found) > 5
    nearest = known[np.abs(known[:, None] - found).argmin(0)]
    np.testing.assert_allclose(found, nearest, rtol=1e-6)


def test_tapvid3d_has_a_file_for_each_episode(dataset_run: Path, tmp_path: Path) -> None:
    status, said, _ = export(dataset_run, "tapvid3d", tmp_path / "out")
    assert status == 3 and set(said["left_out"]) == {*BROKEN, *TRACKLESS}
    files = {path.stem: path for path in (tmp_path / "out").rglob("*.npz")}
    sides = {name: path.parent.name for name, path in files.items()}
    assert sides == {entry["name"]: entry["split"] for entry in record_of(tmp_path / "out")["episodes"]}
    for name, path in files.items():
        expected = stored(dataset_run, name)
        with np.load(path, allow_pickle=False) as data:
            frames, visible = data["frames"], data["visibility"]
            assert np.array_equal(frames, np.flatnonzero(expected["camera/valid"]))
            poses = expected["camera/cam_from_world"][frames]
            assert np.array_equal(data["extrinsics_w2c"], poses)
            xyz = expected["tracks/xyz"][frames].astype(float)
            in_camera = np.einsum("tij,tnj->tni", poses[:, :3, :3], xyz) + poses[:, None, :3, 3]
            seen = (expected["tracks/visible"][frames] & np.isfinite(xyz).all(-1)).any(0)
            np.testing.assert_allclose(data["tracks_XYZ"][visible], in_camera[:, seen][visible], atol=1e-5)


def test_only_chosen_frames_go_in(dataset_run: Path, tmp_path: Path) -> None:
    where = "(video == '00_plain' and index != 1) or (video == '01_handless' and index < 2)"
    _, said, _ = export(dataset_run, "webdataset", tmp_path / "out", "--where", where, "--val", "0")
    # Segments 0:5, 3:6 and 4:8: what a segment stores ends where the next one begins.
    episodes = [(entry["name"], entry["start"], entry["stop"]) for entry in record_of(tmp_path / "out")["episodes"]]
    assert episodes == [
        ("00_plain_000000_000003", 0, 3),
        ("00_plain_000004_000008", 4, 8),
        ("01_handless_000000_000004", 0, 4),
    ]
    # What nobody chose is listed, and not a failure.
    assert "02_trackless" in said["not_chosen"] and "02_trackless" not in said["left_out"]
    assert record_of(tmp_path / "out")["not_chosen"] == said["not_chosen"]
