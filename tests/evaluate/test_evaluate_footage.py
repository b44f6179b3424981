"""The scores of real footage: by a truth that knows only part, and of cameras that go nowhere."""

from __future__ import annotations

import dataclasses
import io

import h5py
import numpy as np
import pytest
from rich.console import Console
from scipy.spatial.transform import Rotation
from synthetic_store import Flaws, write_store, write_truth

from geoflow.evaluate import evaluate_store, render_table
from geoflow.geometry.rigid import invert
from geoflow.synth import render

HALF = 2.0**-11  # relative rounding of float16, the store's depth


@pytest.fixture
def score_by(small_clip, tmp_path):
    """Scores of a store with flaws by a truth that does not know everything."""
    clip = small_clip

    def run(flaws=None, **known):
        write_truth(tmp_path / "gt.h5", clip, **known)
        write_store(tmp_path / "store.h5", clip, flaws)
        return evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5")

    return run


@pytest.mark.filterwarnings("error")
class TestTruthThatDoesNotKnowEverything:
    def test_frames_without_true_depth_are_left_out(self, score_by):
        scores = score_by(Flaws(depth_gain={0: 3.0, 1: 1.2}), deep=range(1, 8))
        assert scores.geometry.abs_rel == pytest.approx(0.2 / 7, abs=2 * HALF)
        assert scores.geometry.coverage == 1 and scores.geometry.delta1 == 1
        assert scores.constant_plane.coverage == 1

    def test_frames_without_true_pose_are_left_out(self, small_clip, score_by, tmp_path):
        score_by(posed=(0, 1, 2, 5, 6, 7))
        with h5py.File(tmp_path / "store.h5", "a") as file:
            file["camera/cam_from_world"][3, :3, 3] += 10
            file["camera/depth"][4] = 2 * file["camera/depth"][4]  # next to no other frame with a pose
        scores = evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5")
        assert scores.poses.frames_posed == 1 and scores.poses.ate_percent < 1e-3
        assert scores.camera.flicker < 2 * HALF
        assert scores.camera.abs_rel == pytest.approx(1 / 8, abs=2 * HALF)
        centers = invert(small_clip.cam_from_world)[[0, 1, 2, 5, 6, 7], :3, 3]
        steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
        assert scores.poses.path_length_m == pytest.approx(steps.sum(), rel=1e-5)
        assert any("the pose of 6 of 8 frames" in note for note in scores.notes)

    def test_without_depth_the_camera_is_scored_all_the_same(self, score_by):
        scores = score_by(deep=(), metric=False)
        plain = scores.to_dict()
        assert scores.poses.ate_percent < 1e-3 and scores.poses.focal_error < 1e-6
        assert scores.identity_pose.ate_percent > 5
        assert plain["poses"]["ate_m"] is None and plain["poses"]["path_length_m"] is None
        assert plain["tracks"] is None
        for branch in ("geometry", "camera", "constant_plane"):
            assert all(plain[branch][name] is None for name in ("coverage", "scale", "abs_rel", "delta1", "flicker"))
        assert plain["geometry"]["focal_error"] < 1e-6

    def test_without_poses_each_frame_is_scored_all_the_same(self, score_by):
        scores = score_by(Flaws(depth_gain={0: 1.2}), posed=())
        plain = scores.to_dict()
        assert scores.geometry.abs_rel == pytest.approx(0.2 / 8, abs=2 * HALF)
        assert scores.geometry.point_rel == pytest.approx(0.2 / 8, abs=2 * HALF)
        assert plain["geometry"]["flicker"] is None and plain["tracks"] is None
        for row in ("poses", "identity_pose"):
            assert plain[row]["ate_percent"] is None and plain[row]["rpe_rotation_deg"] is None
        assert scores.poses.frames_posed == 1 and scores.poses.focal_error < 1e-6
        assert not any("travel" in note for note in scores.notes)

    def test_unknown_intrinsics_leave_focal_and_points_open(self, score_by):
        plain = score_by(intrinsics=False).to_dict()
        assert plain["geometry"]["abs_rel"] < 2 * HALF and plain["poses"]["ate_percent"] < 1e-3
        assert plain["poses"]["focal_error"] is None and plain["geometry"]["point_rel"] is None
        assert plain["tracks"] is None

    def test_a_truth_of_nothing_scores_nothing(self, score_by):
        scores = score_by(posed=(), deep=(), intrinsics=False)
        plain = scores.to_dict()
        kept = {key for key, value in plain["poses"].items() if value is not None}
        assert kept == {"frames_posed", "frames_oriented"}
        assert {key for key, value in plain["geometry"].items() if value is not None} == {"filled"}
        console = Console(width=120, file=io.StringIO())
        console.print(render_table(scores))

    def test_a_trembling_truth_does_not_travel(self, small_clip, tmp_path):
        """Motion capture of a camera at rest: its tremble adds up to a path, but stays in one place."""
        clip = dataclasses.replace(small_clip, cam_from_world=small_clip.cam_from_world.copy())
        clip.cam_from_world[:] = np.eye(4)
        clip.cam_from_world[::2, 0, 3] = 0.003  # 7 steps of 3 mm are 2.1 cm
        write_truth(tmp_path / "gt.h5", clip)
        write_store(tmp_path / "store.h5", clip)
        poses = evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5").poses
        assert poses.path_length_m == pytest.approx(0.021) and np.isnan(poses.ate_percent)


def turn(degrees):
    """About the y axis: (N, 3, 3)."""
    return Rotation.from_euler("y", degrees[:, None], degrees=True).as_matrix()


@pytest.fixture(scope="module")
def turning(tmp_path_factory):
    """A camera that turns by 2 degrees a frame, and its truth."""
    folder = tmp_path_factory.mktemp("turning")
    clip = render(width=32, height=24, num_frames=8, motion="rotate")
    poses = np.tile(np.eye(4, dtype=np.float32), (8, 1, 1))
    poses[:, :3, :3] = turn(2.0 * np.arange(8))
    clip = dataclasses.replace(clip, cam_from_world=poses)
    write_truth(folder / "gt.h5", clip)
    return clip, folder / "gt.h5"


def write_rotations(path, clip, rotations):
    """A store that knows no more of the camera than rotations (T, 3, 3)."""
    write_store(path, clip)
    with h5py.File(path, "a") as file:
        file["camera/valid"][:] = False
        file["camera/cam_from_world"][:, :3, :3] = rotations
        file["camera/cam_from_world"][:, :3, 3] = np.nan


class TestCamerasThatGoNowhere:
    def test_rotations_without_positions_are_scored(self, turning, tmp_path):
        """In another world, frame 1 is 10 degrees too far and frame 2 as much too short; frame 7 is not known."""
        clip, truth = turning
        wrong = np.zeros(8)
        wrong[1], wrong[2] = 10, -10
        rotations = turn(2.0 * np.arange(8) + wrong) @ Rotation.from_euler("xyz", [0.3, 1.0, -0.4]).as_matrix()
        rotations[7] = np.nan
        write_rotations(tmp_path / "store.h5", clip, rotations)
        scores = evaluate_store(tmp_path / "store.h5", truth)
        assert scores.poses.frames_posed == 0 and scores.poses.frames_oriented == 7 / 8
        assert scores.poses.rotation_deg == pytest.approx(20 / 7, abs=1e-3)
        curve = scores.to_dict()["curves"]["poses"]["rotation_deg"]
        assert curve[7] is None and curve[:7] == pytest.approx([0, 10, 10, 0, 0, 0, 0], abs=1e-3)
        assert scores.to_dict()["poses"]["ate_percent"] is None
        # A camera that never turns is best placed in the middle: 7, 5, 3 and 1 degrees off on both sides.
        assert scores.identity_pose.rotation_deg == pytest.approx(4, abs=1e-3)
        assert scores.identity_pose.frames_oriented == 1

    def test_depth_of_a_turning_camera_is_invented(self, turning, tmp_path):
        clip, truth = turning
        write_store(tmp_path / "store.h5", clip, Flaws(drop=8))  # a quarter of the columns is left out
        with h5py.File(tmp_path / "store.h5", "a") as file:
            file["camera/motion"] = np.array([3, 3, 3, 3, 3, 0, 2, 1], np.uint8)
            file["geometry/depth"][:] = 0
        scores = evaluate_store(tmp_path / "store.h5", truth)
        assert scores.camera.invented == pytest.approx(0.75) and scores.geometry.invented == 0
        assert scores.constant_plane.invented == 1
        motion = scores.motion
        assert (motion.rotating, motion.unknown, motion.still, motion.moving) == (5 / 8, 1 / 8, 1 / 8, 1 / 8)
        assert motion.truth == "rotating" and motion.right == 5 / 8

    def test_what_the_truth_says_of_the_camera(self, turning, small_clip, tmp_path):
        assert self.truth_of(tmp_path, small_clip) == "moving"
        still = np.tile(small_clip.cam_from_world[:1], (8, 1, 1))
        assert self.truth_of(tmp_path, dataclasses.replace(small_clip, cam_from_world=still)) == "still"
        # Two centimetres in a room some metres deep show no parallax, unless nobody knows how deep it is.
        swaying = turning[0].cam_from_world.copy()
        swaying[::2, 0, 3] += 0.02
        swaying = dataclasses.replace(turning[0], cam_from_world=swaying)
        assert np.median(swaying.depth) > 2
        assert self.truth_of(tmp_path, swaying) == "rotating"
        assert self.truth_of(tmp_path, swaying, deep=()) == "moving"
        assert self.truth_of(tmp_path, swaying, posed=()) is None
        assert self.truth_of(tmp_path, swaying, posed=(), motion="rotating") == "rotating"

    def truth_of(self, folder, clip, **known):
        write_truth(folder / "gt.h5", clip, **known)
        write_store(folder / "store.h5", clip)
        with h5py.File(folder / "store.h5", "a") as file:
            file["camera/motion"] = np.ones(8, np.uint8)
        scores = evaluate_store(folder / "store.h5", folder / "gt.h5")
        assert np.isnan(scores.camera.invented) == (scores.motion.truth in ("moving", None))
        return scores.motion.truth
