"""The scores: nothing for a perfect store, the known figure for a known flaw."""

from __future__ import annotations

import dataclasses
import io
import json

import h5py
import numpy as np
import pytest
from rich.console import Console
from synthetic_store import Flaws, write_store, write_truth

from geoflow.errors import InputError
from geoflow.evaluate import evaluate_store, metrics, render_table
from geoflow.evaluate.truth import sample_grid
from geoflow.geometry.rigid import invert
from geoflow.synth import render

HALF = 2.0**-11  # relative rounding of float16, the store's depth


@pytest.fixture(scope="module")
def scene(small_clip, tmp_path_factory):
    truth = tmp_path_factory.mktemp("scene") / "gt.h5"
    write_truth(truth, small_clip)
    return small_clip, truth


@pytest.fixture
def score(scene, tmp_path):
    clip, truth = scene

    def run(**flaws):
        write_store(tmp_path / "store.h5", clip, Flaws(**flaws))
        return evaluate_store(tmp_path / "store.h5", truth)

    return run


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_a_perfect_store_has_no_error_at_any_scale(score, scale):
    scores = score(scale=scale)
    for branch in (scores.geometry, scores.camera):
        assert branch.coverage == 1 and branch.delta1 == 1 and branch.point_inliers == 1
        assert branch.scale == pytest.approx(1 / scale, rel=HALF)
        assert branch.abs_rel < 2 * HALF and branch.abs_rel_per_frame < 2 * HALF and branch.point_rel < 2 * HALF
        assert branch.flicker < 2 * HALF and branch.focal_error < 1e-6
    assert scores.poses.frames_posed == 1
    assert scores.poses.ate_percent < 1e-3 and scores.poses.rpe_rotation_deg < 1e-2  # float32 poses
    assert scores.tracks.error_percent < 0.5  # the truth is looked up between pixels of 58 px focal length
    assert scores.tracks.uv_error_px < 0.1
    assert scores.tracks.tracks > 20


def test_a_known_gain_on_half_the_frames_gives_the_known_error(score):
    """Depth of 3 of 8 frames is 20 percent long: the median scale follows the other 5."""
    scores = score(depth_gain={0: 1.2, 1: 1.2, 2: 1.2})
    assert scores.geometry.abs_rel == pytest.approx(0.2 * 3 / 8, abs=2 * HALF)
    assert scores.geometry.abs_rel_per_frame < 2 * HALF
    assert scores.geometry.point_rel == pytest.approx(0.2 * 3 / 8, abs=2 * HALF)
    assert scores.geometry.delta1 == 1
    far = score(depth_gain={0: 1.3, 1: 1.3, 2: 1.3}).geometry
    assert far.delta1 == pytest.approx(5 / 8) and far.point_inliers == pytest.approx(5 / 8)
    assert far.delta1_per_frame == 1


def test_coverage_counts_what_is_left_out(score):
    scores = score(drop=16)
    assert scores.geometry.coverage == pytest.approx(48 / 64)
    assert scores.geometry.abs_rel < 2 * HALF


def test_a_jump_at_a_seam_is_caught_there_and_only_there(score):
    segments = ((0, 5), (3, 8))  # the overlap is frames 3 and 4
    smooth = score(segments=segments).geometry
    assert smooth.seam_jump < 2 * HALF and smooth.seam_drift < 2 * HALF
    jump = score(segments=segments, depth_gain=dict.fromkeys(range(3, 8), 1.1)).geometry
    assert jump.seam_jump_worst == pytest.approx(np.log(1.1), abs=3 * HALF)
    assert jump.seam_drift == pytest.approx(np.log(1.1), abs=3 * HALF)
    assert jump.flicker < 2 * HALF
    # A blend over the overlap hides the jump from neighbouring frames, but not from the drift across.
    blended = score(segments=segments, depth_gain={3: 1.033, 4: 1.066, **dict.fromkeys(range(5, 8), 1.1)}).geometry
    assert blended.seam_jump_worst < 0.05
    assert blended.seam_drift == pytest.approx(np.log(1.1), abs=3 * HALF)


def test_flicker_is_the_frame_to_frame_change(score):
    gains = dict.fromkeys(range(0, 8, 2), 1.05)
    assert score(depth_gain=gains).geometry.flicker == pytest.approx(np.log(1.05), abs=3 * HALF)
    assert np.isnan(score().geometry.seam_jump)  # no segments: nothing to say


def test_pose_noise_shows_in_path_and_tracks(score):
    noisy = score(pose_noise=0.05)
    assert 0.01 < noisy.poses.ate_m < 0.12  # 0.05 a coordinate, less what the alignment absorbs
    assert noisy.poses.ate_percent == pytest.approx(100 * noisy.poses.ate_m / noisy.poses.path_length_m)
    assert noisy.tracks.error_m > 0.005
    assert noisy.poses.rpe_rotation_deg < 1e-2


def test_baselines_are_bad(score):
    scores = score()
    assert scores.constant_plane.abs_rel > 0.1 and scores.constant_plane.delta1 < 0.9
    assert scores.constant_plane.coverage == 1
    assert scores.identity_pose.ate_percent > 5
    assert scores.identity_pose.rpe_rotation_deg > 0.5 and scores.identity_pose.rpe_translation_m > 0.01


def test_what_is_absent_scores_none_and_json_has_no_nan(score):
    scores = score(leave_out=("prior", "tracks", "camera"))
    assert scores.prior is None and scores.tracks is None and scores.poses is None and scores.camera is None
    plain = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert plain["prior"] is None and plain["geometry"]["seam_jump"] is None
    assert plain["geometry"]["abs_rel"] == scores.geometry.abs_rel


def test_frames_without_pose_are_left_out(scene, tmp_path):
    clip, truth = scene
    write_store(tmp_path / "store.h5", clip)
    with h5py.File(tmp_path / "store.h5", "a") as file:
        file["camera/valid"][5:] = False
        file["camera/cam_from_world"][5:] = np.nan
    poses = evaluate_store(tmp_path / "store.h5", truth).poses
    assert poses.frames_posed == 5 / 8 and poses.ate_percent < 1e-3


def test_a_still_camera_has_no_path_to_measure_by(tmp_path):
    clip = render(width=32, height=24, num_frames=4, motion="still")
    write_truth(tmp_path / "gt.h5", clip)
    write_store(tmp_path / "store.h5", clip)
    scores = evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5")
    assert np.isnan(scores.poses.ate_percent) and np.isnan(scores.tracks.error_m)
    assert scores.tracks.uv_error_px < 0.1
    assert any("does not travel" in note for note in scores.notes)


@pytest.fixture
def score_by(scene, tmp_path):
    """Scores of a store with flaws by a truth that does not know everything."""
    clip, _ = scene

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

    def test_frames_without_true_pose_are_left_out(self, scene, score_by, tmp_path):
        score_by(posed=(0, 1, 2, 5, 6, 7))
        with h5py.File(tmp_path / "store.h5", "a") as file:
            file["camera/cam_from_world"][3, :3, 3] += 10
            file["camera/depth"][4] = 2 * file["camera/depth"][4]  # next to no other frame with a pose
        scores = evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5")
        assert scores.poses.frames_posed == 1 and scores.poses.ate_percent < 1e-3
        assert scores.camera.flicker < 2 * HALF
        assert scores.camera.abs_rel == pytest.approx(1 / 8, abs=2 * HALF)
        centers = invert(scene[0].cam_from_world)[[0, 1, 2, 5, 6, 7], :3, 3]
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
        assert kept == {"frames_posed"}
        assert all(value is None for value in plain["geometry"].values())
        console = Console(width=120, file=io.StringIO())
        console.print(render_table(scores))

    def test_a_trembling_truth_does_not_travel(self, scene, tmp_path):
        """Motion capture of a camera at rest: its tremble adds up to a path, but stays in one place."""
        clip = dataclasses.replace(scene[0], cam_from_world=scene[0].cam_from_world.copy())
        clip.cam_from_world[:] = np.eye(4)
        clip.cam_from_world[::2, 0, 3] = 0.003  # 7 steps of 3 mm are 2.1 cm
        write_truth(tmp_path / "gt.h5", clip)
        write_store(tmp_path / "store.h5", clip)
        poses = evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5").poses
        assert poses.path_length_m == pytest.approx(0.021) and np.isnan(poses.ate_percent)


def test_a_smaller_store_of_every_other_frame(scene, tmp_path):
    """Nearest true pixels and scaled intrinsics: a half-size store at half the rate still scores near nothing."""
    clip, truth = scene
    write_store(tmp_path / "store.h5", clip)
    small = tmp_path / "small.h5"
    with h5py.File(tmp_path / "store.h5") as file, h5py.File(small, "w") as out:
        out.attrs.update(dict(file.attrs), height=24, width=32)
        out["frames/index"] = file["frames/index"][::2]
        out["geometry/depth"] = file["geometry/depth"][::2, 1::2, 1::2]
        scaled = file["geometry/intrinsics"][::2]
        scaled[:, :2] *= 0.5
        scaled[:, :2, 2] -= 0.25  # pixel centres at integers: (c + 0.5) / 2 - 0.5
        out["geometry/intrinsics"] = scaled
    scores = evaluate_store(small, truth)
    assert scores.num_frames == 4 and scores.geometry.focal_error < 1e-6
    assert scores.geometry.abs_rel < 2 * HALF and scores.geometry.coverage == 1


def test_what_cannot_be_evaluated_is_named(scene, tmp_path):
    clip, truth = scene
    with pytest.raises(InputError, match="no store"):
        evaluate_store(tmp_path / "missing.h5", truth)
    with pytest.raises(InputError, match="geoflow_schema"):
        evaluate_store(truth, truth)
    write_store(tmp_path / "store.h5", clip)
    with h5py.File(tmp_path / "store.h5", "a") as file:
        file["frames/index"][:] += 100
    with pytest.raises(InputError, match="covers frames 0 to 7"):
        evaluate_store(tmp_path / "store.h5", truth)


def test_table_names_every_branch(score):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render_table(score()))
    text = console.export_text()
    for word in ("prior", "geometry", "camera", "constant plane", "identity pose", "AbsRel", "3D error"):
        assert word in text
    assert "nan" not in text


def test_weighted_median_scale_is_the_minimum():
    rng = np.random.default_rng(0)
    true = rng.uniform(1, 5, (200, 3))
    predicted = true / 3 * rng.lognormal(0, 0.2, (200, 3))

    def loss(s):
        return (np.abs(s * predicted - true) / true[:, 2:]).sum()

    best = metrics.l1_point_scale(predicted, true)
    assert all(loss(best) <= loss(best * f) for f in (0.95, 0.99, 0.999, 1.001, 1.01, 1.05))


def test_sample_grid_is_spread_and_bounded():
    grid = sample_grid(480, 640, 4096)
    assert 2048 < len(grid) <= 4200 and grid.max() < 480 * 640
    assert len(sample_grid(10, 10, 4096)) == 100
