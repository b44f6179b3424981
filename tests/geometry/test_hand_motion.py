from __future__ import annotations

import numpy as np
import pytest
from hand_drawing import hand_joints, place
from lifted_hands import lifted

from geoflow.geometry.cameras import project
from geoflow.geometry.hands.hand_motion import HandLimits, between, in_unit, slow_enough, steady_frames
from geoflow.geometry.hands.hand_pose import wrist_pose
from geoflow.geometry.hands.hand_sides import Detection
from geoflow.geometry.hands.hand_smoothing import NOT_SMOOTHED, Smoothing, jitter
from geoflow.geometry.rigid import apply, invert

K = np.array([[450, 0, 239.5], [0, 450, 179.5], [0, 0, 1]], np.float32)
FPS = 30.0


def _keep(x: list[float], frames: list[int] | None = None, **limits: float) -> list[bool]:
    """Of wrists at columns `x` metres, half a metre away."""
    rows = np.arange(len(x)) if frames is None else np.array(frames)
    time = np.arange(rows[-1] + 1) / FPS
    wrists = np.c_[x, np.zeros(len(x)), np.full(len(x), 0.5)]
    still = in_unit(None, len(time), 1.0)
    return slow_enough(wrists, rows, time, np.ones(len(x)), still, HandLimits(**limits)).tolist()  # type: ignore[arg-type]


def test_one_wrong_sight_is_dropped_and_the_rest_kept() -> None:
    assert _keep([0, 0.01, 0.5, 0.02, 0.03]) == [True, True, False, True, True]
    assert _keep([0.5, 0.01, 0.0, 0.02, 0.03]) == [False, True, True, True, True]


def test_the_limit_is_metres_per_second() -> None:
    # 30 steps a second of what the placing is unsure of (2 cm) and 3 cm more: 0.9 m/s, of 4 cm more: 1.2 m/s.
    assert all(_keep([0.05 * i for i in range(6)]))
    assert not all(_keep([0.06 * i for i in range(6)]))
    assert all(_keep([0.06 * i for i in range(6)], max_velocity=1.3))
    assert all(_keep([0.0, 5.0, 0.0], max_velocity=0))


def test_time_that_passed_counts() -> None:
    assert _keep([0, 0.3], [0, 2]) == [True, False]
    assert _keep([0, 0.3], [0, 10]) == [True, True]
    assert _keep([0, 3.0], [0, 22]) == [True, True], "after a long loss nothing is known"


def test_the_camera_s_own_turn_is_no_motion_of_the_hand() -> None:
    count = 8
    poses = np.tile(np.eye(4), (count, 1, 1))
    for i in range(count):
        angle = 0.15 * i  # 4.5 rad/s: 2.2 m/s at half a metre
        poses[i, :3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    wrists = np.array([apply(pose, np.array([0, 0, 0.5])) for pose in poses])
    rows, time, weight = np.arange(count), np.arange(count) / FPS, np.ones(count)
    steady = steady_frames(poses, np.ones(count, bool))
    assert slow_enough(wrists, rows, time, weight, in_unit(steady, count, 1.0), HandLimits()).all()
    assert not slow_enough(wrists, rows, time, weight, in_unit(None, count, 1.0), HandLimits()).all()
    assert steady_frames(poses, np.arange(count) > 0) is None


def test_translations_go_from_scene_units_to_metres() -> None:
    frames = np.tile(np.eye(4), (2, 1, 1))
    frames[:, :3, 3] = [6.0, 0, 0]
    assert in_unit(frames, 2, 3.0)[0, 0, 3] == 2
    assert in_unit(frames, 2, None)[0, 0, 3] == 0


def test_half_way_between_two_sights() -> None:
    a = place(hand_joints("right", 10), (0.0, 0.0, 0.5))
    for turn_deg in (40.0, 180.0):
        b = place(hand_joints("right", 10), (0.1, 0.0, 0.6), roll_deg=turn_deg)
        wrist_a, wrist_b = wrist_pose(a, "right"), wrist_pose(b, "right")
        middle = between(a, b, wrist_a, wrist_b, 0.5)
        np.testing.assert_allclose(middle[0], (a[0] + b[0]) / 2, atol=1e-9)
        # The fingers do not change, so the hand stays rigid on its way, and turns by half.
        np.testing.assert_allclose(
            apply(invert(wrist_pose(middle, "right")), middle), apply(invert(wrist_a), a), atol=1e-9
        )
        turn = wrist_a[:3, :3].T @ wrist_pose(middle, "right")[:3, :3]
        assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) == pytest.approx(turn_deg / 2, abs=1e-4)
    np.testing.assert_allclose(between(a, b, wrist_a, wrist_b, 0.0), a, atol=1e-9)
    np.testing.assert_allclose(between(a, b, wrist_a, wrist_b, 1.0), b, atol=1e-9)


def _lift(seen: list[bool], step: float = 0.01, **limits: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A right hand that moves sideways, found only in some frames; its fields and its true joints."""
    truth = [place(hand_joints("right", 15), (step * i, 0.0, 0.5)) for i in range(len(seen))]
    found = [Detection(project(t, K), t - t.mean(0), right=0.9, score=0.8) if s else None for t, s in zip(truth, seen)]
    fields = lifted(
        {"left": [None] * len(seen), "right": found},
        np.tile(K, (len(seen), 1, 1)),
        time_s=np.arange(len(seen)) / FPS,
        limits=HandLimits(**limits),  # type: ignore[arg-type]
    )
    return {name.removeprefix("hands.right."): array for name, array in fields.items()}, np.stack(truth)


def test_a_short_gap_is_filled_and_marked() -> None:
    hand, truth = _lift([False, True, True, False, False, True, True, False])
    assert hand["valid"].tolist() == [False, True, True, True, True, True, True, False]
    assert hand["filled"].tolist() == [False, False, False, True, True, False, False, False]
    assert (hand["confidence"] > 0).tolist() == [False, True, True, False, False, True, True, False]
    # Off the axis `locate` is good to a few millimetres; the way between two such sights cannot be better.
    assert np.abs(hand["joints"][3:5] - truth[3:5]).max() < 0.01
    np.testing.assert_allclose(project(hand["joints"][3], K), hand["uv"][3], atol=0.01)
    assert np.isfinite(hand["wrist"][hand["valid"]]).all() and np.isnan(hand["joints"][[0, 7]]).all()


def test_a_long_gap_stays_empty() -> None:
    seen = [True, *[False] * 6, True]
    assert _lift(seen, max_gap=6)[0]["filled"].sum() == 6
    hand, _ = _lift(seen, max_gap=5)
    assert not hand["filled"].any() and hand["valid"].sum() == 2
    assert not _lift(seen, max_gap=0)[0]["filled"].any()


def test_a_sight_that_is_too_fast_becomes_a_filled_frame() -> None:
    truth = [place(hand_joints("right", 15), (0.3 if i == 3 else 0.0, 0.0, 0.5)) for i in range(7)]
    found = [Detection(project(t, K), t - t.mean(0), right=0.9, score=0.8) for t in truth]
    fields = lifted(
        {"left": [None] * 7, "right": found}, np.tile(K, (7, 1, 1)), time_s=np.arange(7) / FPS, limits=HandLimits()
    )
    assert fields["hands.right.filled"].tolist() == [i == 3 for i in range(7)]
    assert np.abs(fields["hands.right.joints"][3] - truth[0]).max() < 0.01


def test_joints_lie_behind_the_skin() -> None:
    """Depth of the skin, 2 cm in front of the joints: without the offset the hand comes out too near."""
    truth = place(hand_joints("right", 0) * [1, 1, 0], (0.0, 0.0, 0.5))  # flat
    seen = {"left": [None], "right": [Detection(project(truth, K), truth - truth.mean(0), right=0.9, score=0.9)]}
    depth = np.full((1, 360, 480), 3 * (truth[:, 2].mean() - 0.02), np.float16)
    for offset, expected in ((0.02, 3.0), (0.0, 3 * 0.96)):
        scale = lifted(seen, K[None], depth, limits=HandLimits(0, 0, offset))["hands.right.scale"]
        assert scale[0] == pytest.approx(expected, rel=0.01)


def test_in_a_metric_scene_the_depth_under_a_hand_decides_its_size() -> None:
    count = 9
    joints = place(hand_joints("left"), (0.02, 0.0, 0.5))
    seen = {"left": [Detection(project(joints, K), joints - joints.mean(0), 0.1, 0.9)] * count}
    true = 1.2 * joints  # a large hand, so further away
    depth = np.full((count, 360, 480), true[:, 2].mean() - 0.02, np.float32)
    cameras = np.tile(K, (count, 1, 1))
    found = lifted(seen, cameras, depth, metric=True, limits=HandLimits())
    assert np.abs(found["hands.left.joints"][:, 0] - true[0]).max() < 0.03 and np.isnan(found["hands.left.scale"]).all()
    assert np.abs(project(found["hands.left.joints"][4], K) - project(joints, K)).max() < 0.01
    plain = lifted(seen, cameras, metric=True, limits=HandLimits())
    for wrong in (3 * depth, np.zeros_like(depth)):
        assert np.allclose(lifted(seen, cameras, wrong, metric=True)["hands.left.joints"], plain["hands.left.joints"])


def test_smoothed_joints_tremble_less_and_still_lie_on_their_pixels() -> None:
    rng, count = np.random.default_rng(0), 40
    time = np.arange(count) / FPS
    joints = [place(hand_joints("right"), (0.05 * np.sin(i / 8), 0, 0.5)) for i in range(count)]
    seen = {
        "right": [
            Detection(project(xyz, K) + rng.normal(0, 1.5, (21, 2)), xyz - xyz.mean(0), 0.9, 0.9) for xyz in joints
        ]
    }
    rough, smooth = (
        lifted(seen, np.tile(K, (count, 1, 1)), time_s=time, smoothing=how) for how in (NOT_SMOOTHED, Smoothing())
    )
    trembling = [jitter(rows["hands.right.joints"][:, 8], time) for rows in (rough, smooth)]
    assert trembling[1] < trembling[0] / 3
    assert np.abs(smooth["hands.right.joints"][:, 0] - [xyz[0] for xyz in joints]).mean() < 0.01
    for rows in (rough, smooth):
        for xyz, uv in zip(rows["hands.right.joints"], rows["hands.right.uv"]):
            assert np.abs(project(xyz, K) - uv).max() < 0.01
