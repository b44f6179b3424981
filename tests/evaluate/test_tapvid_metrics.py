"""TAPVid-3D's metrics against a second computation by plain loops, and against figures worked out by hand."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from geoflow.evaluate.tapvid_metrics import (
    THRESHOLDS_PX,
    ComparedTracks,
    median_scale,
    scaled_scores,
    trajectory_scales,
)

ROUNDING = 1e-12  # of sums of a few hundred shares in float64


def random_tracks(seed: int) -> ComparedTracks:
    """Predictions of very different quality; some points have none, some positions are unknown on either side."""
    rng = np.random.default_rng(seed)
    frames, points = int(rng.integers(2, 12)), int(rng.integers(1, 25))
    true = rng.normal(size=(frames, points, 3))
    true[..., 2] = rng.uniform(0.5, 8, (frames, points))
    found = true * rng.uniform(0.3, 3) * rng.normal(1, 0.05, (1, points, 1))
    found += rng.choice([0, 0.003, 0.03, 0.3], (1, points, 1)) * rng.normal(size=true.shape)
    found[rng.random((frames, points)) < 0.1] = np.nan
    true_visible = rng.random((frames, points)) < 0.7
    visible = true_visible ^ (rng.random((frames, points)) < 0.2)
    predicted = rng.random(points) < 0.8
    found[:, ~predicted], visible[:, ~predicted] = np.nan, False
    query = rng.integers(-1, frames, points)
    focal = rng.uniform(150, 400, frames)
    return ComparedTracks(
        true, true_visible, found, visible, predicted, query, focal, rng.random((frames, points)) < 0.95
    )


def by_loops(tracks: ComparedTracks, scaling: str) -> dict[str, float]:
    """The metrics point by point, from the definitions: no arrays, no masks."""
    frames, points = tracks.visible.shape
    cells = [(t, n) for t in range(frames) for n in range(points) if tracks.counted[t, n]]

    def far(side: np.ndarray) -> list[float]:
        return [
            math.hypot(*side[t, n])
            for t, n in cells
            if tracks.visible[t, n] and tracks.true_visible[t, n] and not math.isnan(tracks.xyz[t, n, 0])
        ]

    def scale(n: int) -> float:
        if scaling == "median":
            true = far(tracks.true_xyz)
            return statistics.median(true) / statistics.median(far(tracks.xyz)) if true else math.nan
        if scaling == "per_trajectory":
            start = tracks.query[n]
            return math.nan if start < 0 else float(tracks.true_xyz[start, n, 2] / tracks.xyz[start, n, 2])
        return 1.0

    scales = [scale(n) for n in range(points)]
    jaccards, withins = [], []
    for threshold in THRESHOLDS_PX:
        hits = claimed_hits = visible_points = false_claims = 0
        for t, n in cells:
            target = tracks.true_xyz[t, n]
            reach = threshold * target[2] / tracks.focal[t]
            off = math.dist([scales[n] * value for value in tracks.xyz[t, n]], target)
            near = off < reach  # False for NaN
            if tracks.true_visible[t, n]:
                visible_points += 1
                hits += near
                claimed_hits += near and tracks.visible[t, n]
            if tracks.visible[t, n] and not (near and tracks.true_visible[t, n]):
                false_claims += 1
        withins.append(hits / visible_points)
        jaccards.append(claimed_hits / (visible_points + false_claims))
    agreed = [tracks.predicted[n] and tracks.visible[t, n] == tracks.true_visible[t, n] for t, n in cells]
    return {
        "jaccard": sum(jaccards) / len(jaccards),
        "within": sum(withins) / len(withins),
        "occlusion_accuracy": sum(agreed) / len(agreed),
        **{f"jaccard_at_{k}": value for k, value in enumerate(jaccards)},
        **{f"within_at_{k}": value for k, value in enumerate(withins)},
    }


@pytest.mark.parametrize("scaling", ["median", "per_trajectory", "none"])
def test_a_second_computation_by_loops_gives_the_same(scaling):
    between = 0
    for seed in range(12):
        tracks = random_tracks(seed)
        scale = {"median": median_scale, "per_trajectory": trajectory_scales, "none": lambda _: 1.0}[scaling](tracks)
        found, expected = scaled_scores(tracks, scale), by_loops(tracks, scaling)
        for name in ("jaccard", "within", "occlusion_accuracy"):
            assert getattr(found, name) == pytest.approx(expected[name], abs=ROUNDING), (seed, name)
        for name in ("jaccard_at", "within_at"):
            for k, value in enumerate(getattr(found, name)):
                assert value == pytest.approx(expected[f"{name}_{k}"], abs=ROUNDING), (seed, name, k)
        between += 0.02 < found.jaccard < 0.98
    assert between >= (1 if scaling == "none" else 8)  # the cases are not all right or all wrong


def one_point(**other) -> ComparedTracks:
    """A point 2 m ahead that is seen in all of 4 frames: a pixel is 2/256 m there."""
    true = np.tile([0.0, 0.0, 2.0], (4, 1, 1))
    visible = np.ones((4, 1), bool)
    parts = {
        "true_xyz": true,
        "true_visible": visible,
        "xyz": true.copy(),
        "visible": visible,
        "predicted": np.ones(1, bool),
        "query": np.zeros(1, int),
        "focal": np.full(4, 256.0),
        "counted": np.ones((4, 1), bool),
    }
    return ComparedTracks(**{**parts, **other})


def test_an_error_of_three_pixels_is_right_for_three_of_five_thresholds():
    moved = one_point().true_xyz + [3 * 2 / 256, 0, 0]
    found = scaled_scores(one_point(xyz=moved), 1.0)
    assert found.within == pytest.approx(3 / 5) and found.jaccard == pytest.approx(3 / 5)
    assert found.within_at == (0, 0, 1, 1, 1) and found.occlusion_accuracy == 1
    nearer = one_point(xyz=moved - [0, 0, 1], true_xyz=one_point().true_xyz - [0, 0, 1])
    assert scaled_scores(nearer, 1.0).within == pytest.approx(2 / 5)  # 3 px at 2 m are 6 px at 1 m


def test_a_distance_of_just_the_threshold_is_out_of_reach():
    found = scaled_scores(one_point(xyz=one_point().true_xyz + [4 * 2 / 256, 0, 0]), 1.0)
    assert found.within_at == (0, 0, 0, 1, 1)


def test_wrong_claims_of_visibility_cost_jaccard_and_accuracy_but_not_within():
    shown = np.array([[True], [True], [False], [False]])
    silent = scaled_scores(one_point(visible=shown), 1.0)
    assert silent.jaccard == 1 / 2 and silent.within == 1 and silent.occlusion_accuracy == 1 / 2
    bold = scaled_scores(one_point(true_visible=shown), 1.0)
    assert bold.jaccard == 2 / (2 + 2) and bold.within == 1 and bold.occlusion_accuracy == 1 / 2
    # Seen, claimed and far off is missed and false at once: 2 of 4 + 2.
    far = one_point().true_xyz.copy()
    far[2:] += 1
    assert scaled_scores(one_point(xyz=far), 1.0).jaccard == pytest.approx(2 / 6)


def test_scalings_heal_what_they_should_and_no_more():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(5, 3, 3)) + [0, 0, 5]
    seen = np.ones((5, 3), bool)

    def tracks(found: np.ndarray) -> ComparedTracks:
        query, ones = np.zeros(3, int), np.ones(3, bool)
        return ComparedTracks(true, seen, found, seen, ones, query, np.full(5, 256.0), seen)

    small = tracks(true / 7)
    assert median_scale(small) == pytest.approx(7) and trajectory_scales(small) == pytest.approx(7)
    assert scaled_scores(small, median_scale(small)).jaccard == 1
    assert scaled_scores(small, 1.0).jaccard == 0
    uneven = tracks(true * np.array([0.5, 1, 2])[:, None])
    assert scaled_scores(uneven, median_scale(uneven)).jaccard < 0.5
    assert scaled_scores(uneven, trajectory_scales(uneven)).jaccard == 1


def test_a_point_without_a_prediction_is_right_in_no_frame_hidden_ones_included():
    hidden = np.array([[True], [True], [True], [False]])
    nothing = one_point(
        xyz=np.full((4, 1, 3), np.nan),
        visible=np.zeros((4, 1), bool),
        predicted=np.zeros(1, bool),
        true_visible=hidden,
    )
    for scale in (median_scale(nothing), trajectory_scales(nothing)):
        found = scaled_scores(nothing, scale)
        assert found.jaccard == found.within == found.occlusion_accuracy == 0
        assert np.isnan(found.scale)


def test_what_the_truth_does_not_know_is_left_out_and_nothing_at_all_is_nan():
    known = np.array([[True], [True], [False], [False]])
    wrong = one_point().true_xyz.copy()
    wrong[2:] = np.nan
    found = scaled_scores(one_point(true_xyz=wrong, counted=known), 1.0)
    assert found.jaccard == found.within == found.occlusion_accuracy == 1
    assert np.isnan(scaled_scores(one_point(counted=np.zeros((4, 1), bool)), 1.0).jaccard)


def test_a_depth_of_zero_or_behind_the_camera_gives_a_track_no_scale():
    flat = one_point().true_xyz * [1, 1, -1]
    assert np.isnan(trajectory_scales(one_point(xyz=flat))).all()
    assert np.isnan(trajectory_scales(one_point(query=np.array([-1])))).all()
