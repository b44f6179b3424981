"""A walk that returns, through `places`, `stitch` and `write`: the store's path closes, and everything with it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from geoflow.bench.loops.closing_bench import path_error, put_together, scores
from geoflow.bench.loops.drifting_cameras import DriftingCameras
from geoflow.bench.loops.ring_walk import LAP, RingWalk
from geoflow.geometry.loops import revisits
from geoflow.geometry.loops.similarity import Similarities
from geoflow.segments import VideoInfo
from geoflow.stage import SegmentRecord
from geoflow.stages.write import Write
from geoflow.store.bent_arrays import bent, bent_placement, is_bent
from geoflow.store.closing import find_bend
from geoflow.store.parts import read_info
from geoflow.store.reader import open_video
from geoflow.store.schema import LOOPS, datasets
from geoflow.store.verify import verify_store

CHAPTERS = 4


def contents(path: Path) -> dict[str, object]:
    """Return all arrays and attributes of a store."""
    found: dict[str, object] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
        found |= {f"@{name}": value for name, value in file.attrs.items()}
    return found


def alike(one: dict[str, object], other: dict[str, object]) -> bool:
    return one.keys() == other.keys() and all(
        np.asarray(one[name]).tobytes() == np.asarray(other[name]).tobytes() for name in one if name != "segments"
    )


@pytest.fixture(scope="module")
def walk() -> RingWalk:
    return RingWalk()


@pytest.fixture(scope="module")
def cameras(walk: RingWalk) -> DriftingCameras:
    return DriftingCameras(walk, LAP + 60, CHAPTERS, seed=1)


@pytest.fixture(scope="module")
def parts(cameras: DriftingCameras, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Return a run's folder whose last call is still to come, and the poses as stitched."""
    out = tmp_path_factory.mktemp("walk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Write, "finish", lambda *_: {})
        _, poses = put_together(out, cameras, places=True)
    return out, poses


def finish(parts: Path, out: Path, video: VideoInfo, cameras: DriftingCameras) -> Path:
    shutil.copytree(parts, out)
    records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in cameras.segments]
    return Path(Write(Write.Params(out=str(out), compression=0)).finish(video, records)["path"])


@pytest.mark.long
def test_a_walk_of_four_chapters_closes_and_says_so(
    cameras: DriftingCameras, parts: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, stitched = parts
    path = finish(folder, tmp_path / "closed", cameras.video, cameras)
    found, before = scores(path, cameras), path_error(stitched, cameras.truth)
    assert len(cameras.spans) == CHAPTERS and before > 0.1
    assert found["ate_m"] < 0.35 * before
    assert found["points_px"] < 0.01  # points moved with the cameras that saw them
    assert verify_store(path) == []
    with h5py.File(path) as file:
        loops = json.loads(file.attrs[LOOPS])
        assert len(loops) >= 3 and all(row["again"] - row["first"] > LAP / 2 for row in loops)
        # Both frames of a pair are where the truth has them, a lap apart.
        assert np.median([abs(row["again"] - row["first"] - LAP) for row in loops]) < 12
        assert np.median([row["gap_after"] / row["gap_before"] for row in loops]) < 0.3
        poses, depth = file["camera/cam_from_world"][()].astype(np.float64), file["camera/depth"]
        assert np.isfinite(poses).all()
        # A frame's depth has the unit that its camera moves in.
        units = np.array([np.median(depth[t] / cameras.walk.depth(t)) for t in range(0, len(poses), 20)])
        assert units.std() / units.mean() < 0.06
    assert any("seen again" in note for note in open_video(path).notes)
    again = finish(folder, tmp_path / "again", cameras.video, cameras)
    assert alike(contents(path), contents(again))
    monkeypatch.setattr(revisits, "find_revisits", lambda *_: [])
    without = finish(folder, tmp_path / "without", cameras.video, cameras)
    assert scores(without, cameras)["ate_m"] > 0.8 * before
    with h5py.File(without) as file:
        assert LOOPS not in file.attrs


@pytest.mark.long
def test_known_poses_stay_and_metres_stay_metres(
    cameras: DriftingCameras, parts: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    shutil.copytree(parts[0], tmp_path / "parts")
    rows = []
    for path in sorted((tmp_path / "parts").rglob("*.h5")):
        with h5py.File(path) as file:
            rows.append((path, read_info(file)))
    rows.sort(key=lambda row: row[1].index)
    assert find_bend(rows, replace(cameras.video, given_world=True), metric=False) is None
    found = find_bend(rows, cameras.video, metric=True)
    assert found is not None and (found.of_frames.scale == 1).all()


@pytest.mark.long
@pytest.mark.parametrize("same_sides", [False, True])
def test_a_walk_that_does_not_return_is_as_without_places(tmp_path: Path, same_sides: bool) -> None:
    cameras = DriftingCameras(RingWalk(alike=same_sides), 180, 3, seed=2)
    plain, _ = put_together(tmp_path / "plain", cameras, places=False)
    placed, _ = put_together(tmp_path / "placed", cameras, places=True)
    assert alike(contents(plain), contents(placed))


def some(count: int, scale: float = 1.1) -> Similarities:
    found = Similarities.of_chart(np.random.default_rng(0).normal(0, 0.3, (count, 7)))
    return Similarities(np.full(count, scale), found.rotation, found.translation)


def test_everything_that_lies_in_the_world_or_has_a_length_moves() -> None:
    moving = {name for name, row in datasets().items() if is_bent(row, some(1))}
    assert {"camera/cam_from_world", "camera/depth", "geometry/depth", "tracks/xyz", "tracks/query"} <= moving
    assert {"hands/left/joints", "hands/all/wrist", "tracks/camera_xyz"} <= moving
    assert not {"camera/intrinsics", "tracks/uv", "prior/depth", "frames/rgb"} & moving
    rigid = {name for name, row in datasets().items() if is_bent(row, some(1, scale=1.0))}
    assert rigid == {"camera/cam_from_world", "tracks/xyz", "tracks/query"}


def test_a_point_stays_in_its_pixel_and_its_depth_has_the_cameras_unit() -> None:
    rng, rows, count = np.random.default_rng(1), datasets(), 5
    bends = some(count)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = some(count).rotation
    poses[:, :3, 3] = rng.normal(size=(count, 3))
    xyz = rng.normal(size=(count, 7, 3)) + (0, 0, 5)
    after = bent(rows["camera/cam_from_world"], poses, bends)
    places = bent(rows["tracks/xyz"], xyz, bends)
    seen, seen_after = (
        np.einsum("tij,tnj->tni", p[:, :3, :3], x) + p[:, None, :3, 3] for p, x in ((poses, xyz), (after, places))
    )
    np.testing.assert_allclose(seen_after, 1.1 * seen, atol=1e-9)
    query = np.array([[3.0, 1, 2, 3], [0, np.nan, 1, 1]])
    moved = bent(rows["tracks/query"], query, bends)
    np.testing.assert_allclose(moved[0], [3, *bends[3:4].apply(query[:1, 1:])[0]])
    assert moved[1, 0] == 0 and np.isnan(moved[1, 1])
    placement = bent_placement(np.eye(4), bends[:1])
    np.testing.assert_allclose(placement[:3, :3] @ placement[:3, :3].T, 1.21 * np.eye(3), atol=1e-12)


def test_depth_that_is_known_stays_known_and_hands_in_metres_stay() -> None:
    rows, bends = datasets(), some(2, scale=2.0)
    depth = np.array([[[0, 1.5], [60000, 6e-8]], [[0, 1], [2, 3]]], np.float16)
    moved = bent(rows["geometry/depth"], depth, bends)
    assert moved.dtype == np.float16 and np.isfinite(moved).all()
    assert ((moved > 0) == (depth > 0)).all() and moved[0, 0, 1] == 3 and moved[1, 1, 1] == 6
    joints, metres = np.ones((2, 21, 3), np.float32), np.array([np.nan, 0.5], np.float32)
    moved = bent(rows["hands/left/joints"], joints, bends, metres)
    assert (moved[0] == 1).all() and (moved[1] == 2).all()
    wrist = bent(rows["hands/left/wrist"], np.ones((2, 4, 4), np.float32), bends)
    assert (wrist[:, :3, 3] == 2).all() and (wrist[:, :3, :3] == 1).all()
