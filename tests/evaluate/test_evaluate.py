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
from geoflow.evaluate import evaluate_store, measures, render_table
from geoflow.evaluate.correspondence import matches
from geoflow.evaluate.pixels import depth_between, sample_grid
from geoflow.evaluate.trajectory import path_drift
from geoflow.evaluate.truth import TrueFrame
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


def test_steps_at_seams_are_no_flicker(score):
    """Four of the seven steps are at seams, and 10 percent high."""
    segments = ((0, 3), (2, 5), (4, 8))
    found = score(segments=segments, depth_gain={2: 1.1, 4: 1.1}).geometry
    assert found.flicker < 2 * HALF and found.seam_jump == pytest.approx(np.log(1.1), abs=3 * HALF)


def test_a_scale_that_drifts_shows_between_the_ends_only(score):
    """Eight frames: a tenth is one frame."""
    drifting = score(depth_gain={i: 1.02**i for i in range(8)}).geometry
    assert drifting.scale_drift == pytest.approx(np.log(1.02**7), abs=3 * HALF)
    assert drifting.flicker == pytest.approx(np.log(1.02), abs=2 * HALF)
    assert score(depth_gain={3: 1.5}).geometry.scale_drift < 2 * HALF


def test_noise_of_measured_depth_is_no_flicker(scene, tmp_path):
    """Depth cameras tremble by some tenths of a percent from frame to frame; a flawless store does not."""
    clip, noise = scene[0], np.random.default_rng(1).normal(1, 0.003, scene[0].depth.shape)
    write_truth(tmp_path / "gt.h5", dataclasses.replace(clip, depth=(clip.depth * noise).astype(np.float32)))
    write_store(tmp_path / "store.h5", clip)
    geometry = evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5").geometry
    assert geometry.abs_rel == pytest.approx(0.003 * np.sqrt(2 / np.pi), rel=0.1)
    assert geometry.flicker < 3 * HALF  # the noise's own change would be 0.003 * sqrt(2) * 0.67 = 5.8 HALF


def test_curves_say_in_which_frame(scene, score):
    scores = score(depth_gain={3: 1.2}, drop=16, segments=((0, 5), (3, 8)))
    curves = scores.to_dict()["curves"]
    geometry = curves["depth"]["geometry"]
    assert curves["frame"] == list(range(8)) and curves["seams"] == [[3, 5]]
    assert set(curves["depth"]) == {"prior", "geometry", "camera"}
    assert geometry["abs_rel"] == pytest.approx([0, 0, 0, 0.2, 0, 0, 0, 0], abs=2 * HALF)
    assert geometry["coverage"] == pytest.approx([0.75] * 8) == geometry["filled"]
    assert geometry["scale"][3] / geometry["scale"][2] == pytest.approx(1 / 1.2, rel=2 * HALF)
    assert geometry["flicker"][0] is None
    steps = [0, 0, np.log(1.2), np.log(1.2), 0, 0, 0]
    assert geometry["flicker"][1:] == pytest.approx(steps, abs=3 * HALF)
    assert max(curves["poses"]["position_percent"]) < 1e-2 and max(curves["poses"]["rotation_deg"]) < 1e-2
    assert scores.geometry.filled == pytest.approx(0.75)


class TestDrift:
    def poses(self, x):
        """Cameras at x (T,) on a line, turned by 90 degrees in the world."""
        world_from_cam = np.tile(np.array([[0, 0, 1.0, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]]), (len(x), 1, 1))
        world_from_cam[:, 0, 3] = x
        return world_from_cam

    def test_a_step_that_is_too_long_is_an_error_of_the_stretches_over_it(self):
        """Ten steps of 1 m; the sixth is 1.5 m long. A tenth of the path is one step, a half is five."""
        true, found = np.arange(11.0), np.arange(11.0)
        found[6:] += 0.5
        assert path_drift(self.poses(found), self.poses(true), 0.1) == pytest.approx(100 * 0.5 / 10)
        # Of the stretches 0-5, 1-6, ... 5-10 all but the first go over it.
        assert path_drift(self.poses(found), self.poses(true), 0.5) == pytest.approx(100 * (0.5 / 5) * 5 / 6)

    def test_where_the_world_lies_does_not_matter(self):
        true = self.poses(np.cumsum(np.arange(12.0)))
        moved = np.array([[0, -1.0, 0, 5], [1, 0, 0, -2], [0, 0, 1, 7], [0, 0, 0, 1]]) @ true
        assert path_drift(moved, true, 0.1) < 1e-9
        still = np.tile(np.eye(4), (12, 1, 1))
        assert path_drift(still, true, 0.5) == pytest.approx(100)

    def test_of_a_store(self, score):
        assert score().poses.drift_10_percent < 0.1 and score().poses.drift_50_percent < 0.1
        assert score().identity_pose.drift_50_percent > 50


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
    for word in ("prior", "geometry", "camera", "constant plane", "identity pose", "AbsRel", "3D error", "drift"):
        assert word in text
    assert "nan" not in text and "curves" not in text


def test_weighted_median_scale_is_the_minimum():
    rng = np.random.default_rng(0)
    true = rng.uniform(1, 5, (200, 3))
    predicted = true / 3 * rng.lognormal(0, 0.2, (200, 3))

    def loss(s):
        return (np.abs(s * predicted - true) / true[:, 2:]).sum()

    best = measures.l1_point_scale(predicted, true)
    assert all(loss(best) <= loss(best * f) for f in (0.95, 0.99, 0.999, 1.001, 1.01, 1.05))


def test_only_static_surfaces_seen_in_both_frames_match():
    """A wall at 2 m, seen by a camera that then stands one pixel further right."""
    k, moved = np.array([[10, 0, 3.5], [0, 10, 2.5], [0, 0, 1.0]]), np.eye(4)
    moved[0, 3] = -0.2
    depth, still = np.full((6, 8), 2.0, np.float32), np.zeros((6, 8), bool)
    hidden, moves_here, moves_there = depth.copy(), still.copy(), still.copy()
    hidden[1, 1] = 1.0  # an occluder, where the point of (1, 2) should be
    moves_here[2, 2] = moves_there[3, 1] = True
    a, b = TrueFrame(depth, moves_here, k, np.eye(4)), TrueFrame(hidden, moves_there, k, moved)
    source, uv, z = matches(a, b, np.array([8 * 1 + 2, 8 * 2 + 2, 8 * 3 + 2, 8 * 4 + 2, 8 * 4 + 0]))
    assert source.tolist() == [8 * 4 + 2]  # the last one has left the picture
    assert uv == pytest.approx(np.array([[1.0, 4.0]])) and z == pytest.approx([2.0])
    for unknown in (TrueFrame(depth, still, k, np.full((4, 4), np.nan)), TrueFrame(depth, still, np.nan * k, moved)):
        assert not len(matches(a, unknown, source)[0]) and not len(matches(unknown, b, source)[0])


def test_depth_between_pixels_is_exact_on_planes_and_nearest_at_silhouettes():
    u, v = np.meshgrid(np.arange(8.0), np.arange(6.0))
    depth = 1 / (0.5 + 0.002 * u - 0.003 * v)  # a plane: its inverse depth is linear in the picture
    depth[:, 5:] = 9.0
    depth[5, 0] = 0
    places = np.array([[2.25, 1.75], [4.4, 1.0], [4.6, 1.0], [0.4, 4.6], [0.6, 4.4], [7.0, 5.0], [-0.4, 0.0]])
    nearby = [1 / (0.5 + 0.002 * 2.25 - 0.003 * 1.75), depth[1, 4], 9.0, 0.0, depth[4, 1], 9.0, depth[0, 0]]
    assert depth_between(depth, places) == pytest.approx(nearby, rel=1e-6)


def test_sample_grid_is_spread_and_bounded():
    grid = sample_grid(480, 640, 4096)
    assert 2048 < len(grid) <= 4200 and grid.max() < 480 * 640
    assert len(sample_grid(10, 10, 4096)) == 100
