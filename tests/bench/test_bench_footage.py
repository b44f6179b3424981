"""The bench of real footage: what it makes of clips on disk, and that one bad clip does not cost the others."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from ledger_events import done, started
from ledger_events import write as write_events
from plain_pipeline import PLAIN
from rich.console import Console

from geoflow.bench.footage.clips import find_clips, prepare
from geoflow.bench.footage.footage_bench import bench_footage, cpu_seconds_per_frame
from geoflow.bench.footage.footage_table import render_rows
from geoflow.errors import ConfigError, InputError
from geoflow.pipeline import Pipeline
from geoflow.synth import Clip, load_ground_truth

K = np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])


def write_clip(folder: Path, count: int = 3, size: tuple[int, int] = (64, 48), depth: bool = True, **known) -> Path:
    """A clip of grey pictures of one surface at 1.5 m, with a dot at (48, 24) whose depth is 3 m."""
    (folder / "frames").mkdir(parents=True)
    (folder / "depth").mkdir()
    picture, far = np.full((size[1], size[0], 3), 100, np.uint8), np.full(size[::-1], 1500, np.uint16)
    picture[22:27, 46:51], far[22:27, 46:51] = 255, 3000
    for i in range(count):
        cv2.imwrite(str(folder / "frames" / f"{i:05d}.png"), picture)
        if depth:
            cv2.imwrite(str(folder / "depth" / f"{i:05d}.png"), far)
    if not depth:
        (folder / "depth").rmdir()
    truth = {"cam_from_world": np.tile(np.eye(4), (count, 1, 1)), "intrinsics": K, "time": np.arange(count) / 20.0}
    np.savez(folder / "gt.npz", **(truth | known))
    return folder


def prepared(tmp_path: Path, frames: int | None = None, max_size: int | None = None, **clip):
    write_clip(tmp_path / "clips" / "desk", **clip)
    (found,) = find_clips(tmp_path / "clips")
    return prepare(found, tmp_path / "out", frames=frames, max_size=max_size)


def center_of_dot(picture: np.ndarray, above: float) -> np.ndarray:
    """x, y of the pixels brighter than `above`."""
    return np.argwhere(picture > above).mean(0)[::-1]


def test_frames_that_need_nothing_are_taken_where_they_lie(tmp_path: Path) -> None:
    found = prepared(tmp_path, frames=2)
    assert found.source.is_symlink() and found.source.name == "desk" and (found.source / "00001.png").is_file()
    assert (found.frames, found.size, found.notes) == (2, (64, 48), ())
    assert found.fps == pytest.approx(20.0)
    with load_ground_truth(found.truth) as truth:
        assert truth.num_frames == 2 and truth.metric and truth.fps == pytest.approx(20.0)
        assert truth.depth[1][24, 48] == 3.0 and truth.depth[1][10, 10] == 1.5
        assert np.array_equal(truth.intrinsics[1], K.astype(np.float32))


def test_a_longer_side_than_allowed_is_scaled_with_depth_and_intrinsics(tmp_path: Path) -> None:
    found = prepared(tmp_path, max_size=32)
    assert found.size == (32, 24) and not found.source.is_symlink() and "64x48" in found.notes[0]
    assert cv2.imread(str(found.source / "00002.png")).shape == (24, 32, 3)
    with load_ground_truth(found.truth) as truth:
        assert truth.size == (24, 32) and set(np.unique(truth.depth[0])) == {1.5, 3.0}  # nothing between surfaces
        assert truth.intrinsics[0, 0].tolist() == [30, 0, 15.5]  # (31.5 + 0.5) / 2 - 0.5


def test_distortion_is_taken_out_of_frames_and_depth_alike(tmp_path: Path) -> None:
    k1 = 3.0
    found = prepared(tmp_path, distortion=np.array([k1, 0, 0, 0]))
    picture = cv2.imread(str(found.source / "00000.png"), cv2.IMREAD_GRAYSCALE)
    with load_ground_truth(found.truth) as truth:
        depth = truth.depth[0]
    # The dot's centre, x = (48 - 31.5) / 60 and y = 0.5 / 60, is where a ray x_u with x = x_u (1 + k1 r^2) falls.
    x, y = np.roots([k1, 0, 1, -16.5 / 60]), 24.0
    straight = 31.5 + 60 * float(x[np.isreal(x)].real[0])
    assert 45.4 < straight < 45.8
    assert center_of_dot(picture, 200) == pytest.approx([straight, y], abs=0.3)
    assert center_of_dot(depth, 2.0) == pytest.approx([straight, y], abs=0.5)
    assert "undistorted" in found.notes[0]
    with pytest.raises(InputError, match="one camera matrix"):
        prepared(tmp_path / "other", distortion=np.array([k1, 0, 0, 0]), intrinsics=np.full((3, 3), np.nan))


def test_what_a_clip_does_not_know_stays_unknown(tmp_path: Path) -> None:
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[1] = np.nan
    unknown = {"cam_from_world": poses, "intrinsics": np.full((3, 3), np.nan), "time": np.full(3, np.nan)}
    found = prepared(tmp_path, depth=False, max_size=32, **unknown)
    assert found.fps is None and np.isnan(found.intrinsics).any()
    with load_ground_truth(found.truth) as truth:
        assert not truth.metric and not truth.depth[:].any()
        assert np.isnan(truth.intrinsics[:, 0, 0]).all() and not truth.moving[:].any()
        assert np.isfinite(truth.cam_from_world[[0, 2]]).all() and np.isnan(truth.cam_from_world[1]).all()


def test_clips_that_cannot_be_run_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no clip"):
        find_clips(tmp_path)
    write_clip(tmp_path / "short", cam_from_world=np.zeros((2, 4, 4)))
    write_clip(tmp_path / "photos", photos=np.array(True))
    with pytest.raises(ConfigError, match="no clip desk; it has: photos, short"):
        find_clips(tmp_path, ["desk"])
    photos, short = find_clips(tmp_path)
    with pytest.raises(InputError, match="not a video"):
        prepare(photos, tmp_path / "out")
    with pytest.raises(InputError, match="not the truth of 3 frames"):
        prepare(short, tmp_path / "out")


def test_cpu_seconds_are_those_of_the_latest_run(tmp_path: Path) -> None:
    first = [started(1.0, "a"), done(2.0, "prior", 0, "a", 0, seconds=99.0)]
    second = [started(10.0, "a"), *(done(11.0 + i, "prior", 0, "a", i, seconds=1.5) for i in range(2))]
    write_events(tmp_path / "events.jsonl", [*first, *second, done(15.0, "write", 1, "a", 0, seconds=0.5)])
    found = cpu_seconds_per_frame(tmp_path / "events.jsonl", 10, 2.0)
    assert found == {"driver": 0.2, "prior": 0.3, "write": 0.05}


def test_the_table_has_a_row_for_each_branch_and_the_trivial_answer() -> None:
    scores = {
        "geometry": {
            "coverage": 0.9,
            "abs_rel": 0.0512,
            "delta1": 0.97,
            "spearman": 0.98,
            "reversed_frames": 0.0,
            "flicker": 0.0034,
            "seam_jump": None,
            "scale_drift": 0.021,
        },
        "camera": {
            "coverage": 0.8,
            "abs_rel": 0.0634,
            "delta1": 0.95,
            "flicker": 0.0045,
            "seam_jump": 0.0123,
            "invented": 0.1,
        },
        "constant_plane": {"coverage": 1.0, "abs_rel": 0.4, "delta1": 0.2},
        "poses": {"frames_posed": 1.0, "ate_percent": 0.81, "focal_error": 0.021},
        "identity_pose": {"frames_posed": 1.0, "ate_percent": 21.5},
        "tracks": {"error_percent": 1.57},
        "motion": {"unknown": 0.0, "moving": 0.75, "still": 0.25, "rotating": 0.0, "truth": "moving"},
        "unscored": {"geometry.seam_jump": "one segment", "tracks": "none", "geometry.point_rel": "not in this table"},
    }
    cpu = {"driver": 0.1, "camera": 0.35}
    rows = [
        {"clip": "desk", "status": "complete", "frames": 60, "scores": scores, "cpu_seconds_per_frame": cpu},
        {"clip": "torn", "status": "failed", "reason": "InputError: [bold]no[/bold] pictures"},
    ]
    console = Console(width=220, file=io.StringIO())
    console.print(render_rows(rows))
    assert isinstance(console.file, io.StringIO)
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    said = ["moving", "75%,", "still", "25%", "(moving)"]
    depth = ["90", "0.051", "0.970", "0.98", "0", "0.34", "—", "2.1", "—"]
    assert ["desk", "geometry", "60", *depth, "0.45", *said] in lines
    assert [
        "camera",
        "80",
        "0.063",
        "0.950",
        "—",
        "—",
        "0.45",
        "1.23",
        "—",
        "10",
        "100",
        "0.81",
        "2.1",
        "1.57",
    ] in lines
    assert ["trivial", "100", "0.400", "0.200", *6 * ["—"], "100", "21.50", "—"] in lines
    assert ["desk:", "no", "seam", "jump", "(geometry):", "one", "segment"] in lines
    assert "not in this table" not in console.file.getvalue()
    assert ["torn", "failed"] in lines and ["torn:", "InputError:", "[bold]no[/bold]", "pictures"] in lines


@pytest.mark.ray
def test_every_clip_is_a_row_also_one_that_fails(tmp_path: Path, ray_session: None, small_clip: Clip) -> None:
    for name in ("room", "torn"):
        folder = write_clip(tmp_path / "clips" / name, count=8, cam_from_world=small_clip.cam_from_world)
        for i, (rgb, depth) in enumerate(zip(small_clip.frames, small_clip.depth)):
            cv2.imwrite(str(folder / "frames" / f"{i:05d}.png"), rgb[..., ::-1])
            cv2.imwrite(str(folder / "depth" / f"{i:05d}.png"), (1000 * depth).astype(np.uint16))
    (tmp_path / "clips" / "torn" / "frames" / "00003.png").write_bytes(b"no picture")
    plain = tmp_path / "plain.yaml"
    plain.write_text(PLAIN)
    console = Console(file=io.StringIO())
    found = bench_footage(
        tmp_path / "clips", tmp_path / "out", frames=6, pipeline=Pipeline.load(plain), console=console
    )
    room, torn = found["clips"]
    assert (room["clip"], room["status"], room["frames"]) == ("room", "complete", 6)
    assert room["scores"]["num_frames"] == 6 and room["scores"]["constant_plane"]["abs_rel"] > 0.1
    assert room["scores"]["identity_pose"]["ate_percent"] > 5
    assert set(room["cpu_seconds_per_frame"]) == {"driver", "decode", "stitch", "write"}
    assert torn["status"] == "failed" and "00003.png" in torn["reason"]
    assert found["untrue"] == []
    assert json.loads((tmp_path / "out" / "footage.json").read_text()) == json.loads(json.dumps(found))
    with h5py.File(tmp_path / "out" / "room" / "videos" / "room.h5") as store:
        assert len(store["frames/rgb"]) == 6
    assert (tmp_path / "out" / "room" / "report.html").is_file()
