"""Poses of objects in a store: found from its tracks, read back, checked, and scored against the truth."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from object_stages import cube
from segment_fields import HEIGHT, WIDTH, fields_of, make_truth
from synthetic_store import Flaws, write_store, write_truth

from geoflow.evaluate import evaluate_store
from geoflow.geometry.rigid import apply
from geoflow.stage import SegmentRecord
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write
from geoflow.store.info import describe
from geoflow.store.meshes import add_objects
from geoflow.store.object_poses import add_poses, pose_faults, pose_form_faults
from geoflow.store.reader import open_video
from geoflow.store.verify import verify_store
from geoflow.store.whole import whole_h5
from geoflow.synth import Clip, render

FRAMES, MOVER, STILL, BARE = 40, 7, 3, 4
MESH_FRAME = 25


@pytest.fixture(scope="module")
def clip() -> Clip:
    return render(num_frames=FRAMES, width=96, height=72, moving=1, seed=4)


def on_body(clip: Clip, body: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Places (T, N, 3) of points near a body's surface, off by 1 % of its size."""
    size = float(clip.bodies.size[body])
    own = rng.normal(0, 1, (count, 3))
    own *= 0.3 * size / np.linalg.norm(own, axis=1, keepdims=True)
    xyz = np.stack([apply(pose, own) for pose in clip.bodies.world_from_body[:, body].astype(np.float64)])
    return xyz + rng.normal(0, 0.01 * size, xyz.shape)


@pytest.fixture(scope="module")
def stored(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in a world twice as large: the mover, a body that stands still, and an object without points."""
    home, rng = tmp_path_factory.mktemp("poses"), np.random.default_rng(0)
    write_truth(home / "c.gt.h5", clip)
    with h5py.File(home / "c.gt.h5", "a") as file:
        file["label"] = clip.label
        file["bodies/world_from_body"], file["bodies/size"] = clip.bodies.world_from_body, clip.bodies.size
    write_store(home / "plain.h5", clip, Flaws(scale=2.0))
    mover, still = len(clip.bodies.size) - 1, 1
    xyz = 2 * np.concatenate([on_body(clip, mover, 20, rng), on_body(clip, still, 20, rng)], 1)
    visible = np.ones(xyz.shape[:2], bool)
    visible[10:13, 3:20] = False  # the mover is hidden
    label = np.zeros(clip.label.shape, np.uint8)
    for number, body in ((MOVER, mover), (STILL, still), (BARE, 2)):
        label[clip.label == body] = number
        label[0, 0, number] = number  # whatever the camera sees
    with whole_h5(home / "c.h5") as whole, h5py.File(home / "plain.h5") as plain:
        for name in plain:
            if name != "tracks":
                plain.copy(name, whole.file)
        whole.file.attrs.update(dict(plain.attrs))
        whole.file["objects/label"] = label
        whole.file["tracks/object"] = np.repeat([MOVER, STILL], 20).astype(np.uint8)
        whole.file["tracks/xyz"] = np.where(visible[..., None], xyz, np.nan).astype(np.float32)
        whole.file["tracks/visible"] = visible
        whole.file["tracks/uv"] = np.zeros((*visible.shape, 2), np.float32)
        whole.file["tracks/query"] = np.zeros((40, 4), np.float32)
        add_objects(whole, {MOVER: cube(frame=MESH_FRAME)}, {}, key="k", compression=0)
        add_poses(whole, key="k")
    return home / "c.h5"


def test_poses_count_from_the_frame_of_the_mesh(stored: Path, clip: Clip) -> None:
    with open_video(stored) as video:
        assert video.objects is not None
        found = video.objects[MOVER]
        poses = found.poses
        assert poses is not None and poses.reference == MESH_FRAME
        assert np.array_equal(poses.known, ~np.isin(np.arange(FRAMES), (10, 11, 12)))
        assert np.array_equal(poses.world_from_object[MESH_FRAME], np.eye(4))
        np.testing.assert_allclose(found.world_from_mesh(MESH_FRAME), found.mesh.world_from_mesh, atol=1e-6)
        assert found.world_from_mesh(11) is None and np.isnan(poses.path[11]).all()
        true = clip.bodies.world_from_body[:, -1].astype(np.float64)
        middle = 2 * true[MESH_FRAME, :3, 3]
        for i in np.flatnonzero(poses.known):
            assert np.linalg.norm(apply(poses.world_from_object[i], middle) - 2 * true[i, :3, 3]) < 0.05
        assert np.linalg.norm(poses.path[0] - 2 * true[0, :3, 3]) < 0.2


def test_depth_that_needs_rest_gives_no_poses(stored: Path, tmp_path: Path) -> None:
    with whole_h5(tmp_path / "c.h5") as whole, h5py.File(stored) as given:
        for name in given:
            if name != "objects":
                given.copy(name, whole.file)
        whole.file.attrs.update(dict(given.attrs))
        whole.file["objects/label"] = given["objects/label"][()]
        add_objects(whole, {}, {}, key="k", compression=0)
        add_poses(whole, key="k", tracks_need_rest=True)
    with open_video(tmp_path / "c.h5") as video:
        assert video.objects is not None
        for number in (MOVER, STILL, BARE):
            assert video.objects[number].poses is None
            assert "holds only where nothing moves" in video.objects[number].without_poses


def test_an_object_without_a_mesh_has_poses_and_one_without_points_says_so(stored: Path) -> None:
    with open_video(stored) as video:
        assert video.objects is not None
        still, bare = video.objects[STILL], video.objects[BARE]
        assert still.mesh is None and still.poses is not None and still.world_from_mesh(3) is None
        turn = still.poses.world_from_object[:, :3, :3]
        assert np.degrees(np.arccos(((np.trace(turn, axis1=1, axis2=2) - 1) / 2).clip(-1, 1))).max() < 5
        assert np.ptp(still.poses.path, axis=0).max() < 0.05
        assert bare.poses is None and bare.without_poses.startswith("fewer than 6 points")
        held = describe(video)["datasets"]
        assert held[f"objects/{STILL}/pose/world_from_object"]["shape"] == [FRAMES, 4, 4]


def test_they_are_scored(stored: Path) -> None:
    scores = evaluate_store(stored, stored.with_name("c.gt.h5"))
    assert scores.objects is not None
    mover, still = scores.objects.by_number[MOVER], scores.objects.by_number[STILL]
    assert mover.posed == (FRAMES - 3) / FRAMES and still.posed == 1
    assert mover.rotation_deg < 3 and mover.translation < 0.02 < 0.1 < mover.travelled
    assert still.rotation_deg < 3 and still.translation < 0.02 and still.travelled == 0
    assert np.isnan(scores.objects.by_number[BARE].posed)


def wrong_pose(file: h5py.File) -> None:
    file[f"objects/{STILL}/pose/world_from_object"][5, :3, :3] *= 1.1


def unknown(file: h5py.File) -> None:
    file[f"objects/{STILL}/pose/residual"][5] = np.nan


def elsewhere(file: h5py.File) -> None:
    file[f"objects/{STILL}/pose/reference"][0] = 99


def counted(file: h5py.File) -> None:
    file[f"objects/{STILL}/pose/points"][5] = 0


def cut(file: h5py.File) -> None:
    del file[f"objects/{STILL}/pose/residual"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wrong_pose, "frame 5 should be a rotation and a translation, found the scale 1.1"),
        (unknown, "should be known exactly where"),
        (elsewhere, "reference should be a frame of this video"),
        (counted, "points should be 0 exactly where"),
        (cut, "residual is missing"),
    ],
)
def test_what_is_wrong_is_named(stored: Path, tmp_path: Path, change: Callable[[h5py.File], Any], message: str) -> None:
    path = tmp_path / "c.h5"
    path.write_bytes(stored.read_bytes())
    with h5py.File(path, "a") as file:
        assert [*pose_form_faults(file), *pose_faults(file)] == []
        change(file)
        found = list(pose_form_faults(file)) or list(pose_faults(file))
    assert len(found) == 1 and re.search(message, found[0]), found


def test_a_store_that_is_put_together_has_them(tmp_path: Path) -> None:
    """The last segment follows seven points on object 1, the first four fewer than a pose rests on."""
    truth, stitch = make_truth(), Stitch()
    write = Write(Write.Params(out=str(tmp_path)))
    for segment in truth.segments:
        fields = fields_of(truth, segment)
        fields["objects.label"] = np.ones((len(segment), HEIGHT, WIDTH), np.uint8)
        fields["objects.label"][:, :2, :2] = 9
        fields["tracks.object"] = np.ones(fields["tracks.xyz"].shape[1], np.uint8)
        write.process(segment, stitch.process(segment, fields))
    records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in truth.segments]
    path = write.finish(truth.video, records)["path"]
    assert verify_store(path) == []
    with open_video(path) as video:
        assert video.objects is not None and video.status == "complete"
        poses = video.objects[1].poses
        assert poses is not None and poses.known[-5:].all() and not poses.known[:5].any()
        still = np.broadcast_to(np.eye(4), (int(poses.known.sum()), 4, 4))
        np.testing.assert_allclose(poses.world_from_object[poses.known], still, atol=0.01)
        assert video.objects[9].poses is None and video.objects[9].without_poses
        assert "mesh" not in video.recovered
