from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from segment_fields import fields_of, make_truth

from geoflow.stage import SegmentRecord
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write
from geoflow.store.index import write_index
from geoflow.store.paths import RunPaths
from geoflow.store.verify import verify_run, verify_store
from geoflow.store.whole import write_whole


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("good")
    truth = make_truth(20)
    stitch, write = Stitch(), Write(Write.Params(out=str(out)))
    for segment in truth.segments:
        write.process(segment, stitch.process(segment, fields_of(truth, segment)))
    records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in truth.segments]
    return Path(write.finish(truth.video, records)["path"])


def test_a_good_store_has_no_problems(good: Path):
    assert verify_store(good) == []


def replace(name: str, make: Callable[[h5py.File], np.ndarray]) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        array = make(file)
        del file[name]
        file[name] = array

    return damage


def set_value(name: str, where: object, value: object) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        file[name][where] = value

    return damage


def delete(name: str) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        del file[name]

    return damage


def shear(file: h5py.File) -> None:
    pose = file["camera/cam_from_world"][4]
    pose[0, 1] += 0.1
    file["camera/cam_from_world"][4] = pose


def mask_off(file: h5py.File) -> None:
    file["geometry/mask"][3, 5, 5] = False


def unmask(file: h5py.File) -> None:
    file["geometry/depth"][3, 5, 5] = 0


DAMAGE = {
    "dataset missing": (delete("geometry/intrinsics"), "geometry/intrinsics is missing"),
    "frames missing": (delete("frames/index"), "frames/index is missing"),
    "table missing": (delete("segments"), "the table segments is missing"),
    "wrong dtype": (replace("camera/valid", lambda f: f["camera/valid"][()].astype(np.uint8)), "should be bool"),
    "wrong shape": (replace("frames/time", lambda f: f["frames/time"][:-1]), "should have shape"),
    "wrong chunks": (replace("geometry/depth", lambda f: f["geometry/depth"][()]), "one frame per chunk"),
    "attribute missing": (lambda f: f.attrs.__delitem__("fps"), "attribute fps is missing"),
    "attribute type": (lambda f: f.attrs.__setitem__("fps", "fast"), "attribute fps should be float"),
    "attribute status": (lambda f: f.attrs.__setitem__("status", "maybe"), "attribute status is 'maybe'"),
    "schema": (lambda f: f.attrs.__setitem__("geoflow_schema", 9), "schema 9"),
    "not finite": (set_value("geometry/depth", (3, 5, 5), np.nan), "not finite"),
    "negative": (set_value("camera/depth", (3, 5, 5), -1), "negative depth"),
    "depth off the mask": (mask_off, "disagrees with its mask"),
    "mask off the depth": (unmask, "disagrees with its mask"),
    "frames repeat": (set_value("frames/index", 4, 6), "frames/index does not strictly increase"),
    "time goes back": (set_value("frames/time", 4, 0.0), "frames/time"),
    "shear": (shear, "not a rotation"),
    "mirror": (set_value("camera/cam_from_world", (slice(None), slice(0, 3), 0), 0), "not a rotation"),
    "pose lost": (set_value("camera/cam_from_world", (4, 0, 0), np.nan), "not finite at a valid frame (4)"),
    "pose left": (set_value("camera/valid", 4, False), "should be NaN"),
    "last row": (set_value("camera/cam_from_world", (4, 3, 3), 2), "last row"),
    "focal": (set_value("camera/intrinsics", (4, 0, 0), -5), "camera/intrinsics"),
    "query frame": (set_value("tracks/query", (0, 0), 20), "outside 0..19"),
    "track place": (set_value("tracks/uv", (0, 0), np.nan), "tracks/uv is not finite"),
    "track seen nowhere": (set_value("tracks/xyz", (0, 0), np.nan), "tracks/xyz is not finite where tracks/visible"),
    "track infinite": (set_value("tracks/xyz", (0, 0), np.inf), "infinite"),
    "hand left over": (set_value("hands/left/valid", 0, False), "hands/left/joints should be NaN"),
    "hand lost": (set_value("hands/left/uv", 0, np.nan), "hands/left/uv is not finite"),
    "confidence": (set_value("hands/left/confidence", 0, 2), "confidence"),
}


def only_turns(file: h5py.File) -> None:
    file["camera/valid"][4] = False
    file["camera/cam_from_world"][4, :3, 3] = np.nan


def test_a_rotation_without_a_position_is_in_order(good: Path, tmp_path: Path):
    shutil.copy(good, tmp_path / "clip.h5")
    with h5py.File(tmp_path / "clip.h5", "r+") as file:
        only_turns(file)
    assert verify_store(tmp_path / "clip.h5") == []
    with h5py.File(tmp_path / "clip.h5", "r+") as file:
        shear(file)
    assert any("not a rotation" in problem for problem in verify_store(tmp_path / "clip.h5"))


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_named(name: str, good: Path, tmp_path: Path):
    damage, expected = DAMAGE[name]
    path = tmp_path / "clip.h5"
    shutil.copy(good, path)
    with h5py.File(path, "r+") as file:
        damage(file)
    problems = verify_store(path)
    assert any(expected in problem for problem in problems), problems


def test_an_unreadable_chunk_is_found(good: Path, tmp_path: Path):
    path = tmp_path / "clip.h5"
    shutil.copy(good, path)
    with h5py.File(path) as file:
        chunk = file["camera/depth"].id.get_chunk_info(7)
    with open(path, "r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(b"\xff" * chunk.size)
    assert verify_store(path, deep=False) == []
    assert any("camera/depth frame 7 cannot be read" in problem for problem in verify_store(path))


def test_torn_and_foreign_files(good: Path, tmp_path: Path):
    path = tmp_path / "clip.h5"
    path.write_bytes(good.read_bytes()[:3000])
    assert "not a whole HDF5 file" in verify_store(path)[0]
    assert "is not a file" in verify_store(tmp_path / "none.h5")[0]
    with h5py.File(path, "w") as file:
        file["x"] = 1
    assert verify_store(path) == ["no attribute geoflow_schema: not a GeoFlow store"]


def make_run(out: Path, good: Path) -> RunPaths:
    paths = RunPaths(out)
    write_whole(paths.video("clip"), good.read_bytes())
    row = {"name": "clip", "source": "/a/clip.mp4", "status": "complete", "reason": "", "path": "videos/clip.h5"}
    failed = {"name": "text", "source": "/a/text.mp4", "status": "failed", "reason": "no video in it", "path": ""}
    write_index(paths, [row, failed])
    write_whole(paths.run, json.dumps({"inputs": [{"name": "clip"}, {"name": "text"}]}).encode())
    return paths


def test_a_good_run_has_no_problems(good: Path, tmp_path: Path):
    make_run(tmp_path, good)
    assert verify_run(tmp_path) == []


def test_what_is_wrong_with_a_run(good: Path, tmp_path: Path):
    paths = make_run(tmp_path, good)
    write_whole(paths.run, json.dumps({"inputs": [{"name": "clip"}, {"name": "lost"}]}).encode())
    (paths.videos / "other.h5.part").write_bytes(b"")
    (paths.videos / "stray.h5").write_bytes(b"")
    problems = "\n".join(verify_run(tmp_path))
    assert "input lost has no row" in problems
    assert "other.h5.part was left half-written" in problems
    assert "stray.h5 is not listed" in problems
    paths.video("clip").unlink()
    assert any("videos/clip.h5" in problem and "not a file" in problem for problem in verify_run(tmp_path))


def test_states_of_a_run(good: Path, tmp_path: Path):
    paths = make_run(tmp_path, good)
    row = {"name": "clip", "source": "s", "reason": "", "path": ""}
    write_index(paths, [{**row, "status": "complete"}, {**row, "status": "failed"}, {**row, "status": "running"}])
    problems = "\n".join(verify_run(tmp_path))
    for expected in ("3 rows", "complete but has no path", "failed without a reason", "'running'"):
        assert expected in problems


def test_not_a_run(tmp_path: Path):
    assert "has no index.parquet" in verify_run(tmp_path)[0]
    RunPaths(tmp_path).index.write_bytes(b"not parquet")
    assert "cannot read" in verify_run(tmp_path)[0]
