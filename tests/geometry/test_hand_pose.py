from __future__ import annotations

import cv2
import numpy as np
import pytest
from hand_drawing import hand_joints, place
from lifted_hands import lifted

from geoflow.geometry import rigid
from geoflow.geometry.cameras import project
from geoflow.geometry.hands.hand_pose import locate, scene_scale, wrist_pose
from geoflow.geometry.hands.hand_sides import SIDES, Detection, palm_size

K = np.array([[450, 0, 239.5], [0, 450, 179.5], [0, 0, 1]], np.float32)
HEIGHT, WIDTH = 360, 480


def _shape(joints: np.ndarray) -> np.ndarray:
    """The hand's shape as seen by a camera that looks straight at it: what a crop around the hand shows."""
    x, y, _ = joints.mean(0) / joints.mean(0)[2]
    across = np.array([-y, x, 0])
    turn = cv2.Rodrigues(across / max(np.linalg.norm(across), 1e-12) * np.arctan(np.hypot(x, y)))[0]
    return (joints - joints.mean(0)) @ turn


def _seen(joints: np.ndarray, *, right: float = 0.9, score: float = 0.9) -> Detection:
    """What a perfect detector would say of a hand."""
    return Detection(project(joints, K), _shape(joints), right=right, score=score)


def _depth_of(joints: np.ndarray, factor: float) -> np.ndarray:
    """A depth map that is known only on the hand: a plane at the depth of each joint's neighbourhood."""
    depth = np.zeros((HEIGHT, WIDTH), np.float32)
    uv = project(joints, K)
    for a in range(21):
        for b in range(21):
            middle = np.rint((uv[a] + uv[b]) / 2).astype(int)
            cv2.circle(depth, tuple(int(c) for c in middle), 6, float((joints[a, 2] + joints[b, 2]) / 2 * factor), -1)
    return depth.astype(np.float16)


@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.5), (0.12, -0.06, 0.4), (-0.3, 0.2, 1.5)])
@pytest.mark.parametrize("tilt", [-40.0, 0.0, 40.0])
def test_locate_recovers_an_exact_hand(centre: tuple[float, float, float], tilt: float) -> None:
    truth = place(hand_joints("right", 15), centre, tilt_deg=tilt, roll_deg=25)
    found, error = locate(_shape(truth), project(truth, K), K)
    # The ray through the mean pixel is not quite the one through the hand's centre, and the prior pulls to it.
    assert np.abs(found - truth).max() < 2e-3 * centre[2]
    assert error < 2e-3


def test_locate_lives_with_a_shape_seen_along_the_optical_axis() -> None:
    truth = place(hand_joints("right", 15), (0.12, -0.06, 0.4), tilt_deg=20)
    found, error = locate(truth - truth.mean(0), project(truth, K), K)
    # 17 degrees between ray and axis, against a prior of 6: the joints stay within a finger's width.
    assert np.abs(found - truth).max() < 0.015
    assert error < 0.02


def test_locate_agrees_with_opencv_where_the_prior_says_nothing() -> None:
    truth = place(hand_joints("left", 30), (0.0, 0.0, 0.45), tilt_deg=20)
    rng = np.random.default_rng(1)
    uv = project(truth, K) + rng.normal(0, 0.5, (21, 2))
    shape = truth - truth.mean(0)
    found, _ = locate(shape, uv, K)
    _, turn, shift = cv2.solvePnP(
        shape, uv, K.astype(float), None, np.zeros(3), truth.mean(0), True, cv2.SOLVEPNP_ITERATIVE
    )
    reference = shape @ cv2.Rodrigues(turn)[0].T + shift.ravel()
    assert np.abs(found.mean(0) - reference.mean(0)).max() < 0.01  # of 0.45 m, at half a pixel of noise


def test_locate_keeps_the_tilt_that_the_network_saw() -> None:
    """A flat hand far away looks the same tilted towards the camera and away from it."""
    flat = hand_joints("right", 0) * [1, 1, 0]
    for tilt in (-35.0, 35.0):
        truth = place(flat, (0.0, 0.0, 2.0), tilt_deg=tilt)
        uv = project(truth, K) + np.random.default_rng(2).normal(0, 0.3, (21, 2))
        found, _ = locate(truth - truth.mean(0), uv, K)
        assert np.sign(found[12, 2] - found[0, 2]) == np.sign(truth[12, 2] - truth[0, 2])


def test_locate_turns_down_what_is_no_hand() -> None:
    shape = hand_joints() - hand_joints().mean(0)
    scrambled = project(place(hand_joints(), (0, 0, 0.5)), K)[np.random.default_rng(0).permutation(21)]
    assert locate(shape, scrambled, K)[1] > 0.15
    found, error = locate(shape * np.nan, scrambled, K)
    assert np.isnan(found).all() and error == np.inf


@pytest.mark.parametrize("side", SIDES)
def test_wrist_pose_follows_its_rule_on_both_sides(side: str) -> None:
    joints = place(hand_joints(side, 15), (0.1, 0.0, 0.6), tilt_deg=20, roll_deg=-30)
    pose = wrist_pose(joints, side)
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    local = rigid.apply(rigid.invert(pose), joints)
    np.testing.assert_allclose(local[0], 0, atol=1e-12)
    np.testing.assert_allclose(local[9], [np.linalg.norm(joints[9] - joints[0]), 0, 0], atol=1e-12)
    assert (local[[8, 12, 16, 20], 2] > local[[5, 9, 13, 17], 2] + 0.01).all(), "bent fingers point out of the palm"
    towards_little_finger = 1 if side == "right" else -1
    assert np.sign(local[17, 1] - local[5, 1]) == towards_little_finger


def test_wrist_pose_of_a_degenerate_palm_is_nan() -> None:
    assert np.isnan(wrist_pose(np.zeros((21, 3)), "left")[:3, :3]).all()


def _segment(count: int = 6) -> tuple[list[np.ndarray], dict[str, list[Detection | None]], np.ndarray]:
    truth = [place(hand_joints("right"), (0.02 * i, 0.0, 0.5 + 0.02 * i)) for i in range(count)]
    sides: dict[str, list[Detection | None]] = {"left": [None] * count, "right": [_seen(t) for t in truth]}
    sides["right"][2] = None
    return truth, sides, np.tile(K, (count, 1, 1))


def test_hands_without_depth_are_in_metres_and_project_onto_their_pixels() -> None:
    truth, sides, intrinsics = _segment()
    fields = lifted(sides, intrinsics)
    valid = fields["hands.right.valid"]
    assert valid.tolist() == [True, True, False, True, True, True]
    for i in np.flatnonzero(valid):
        assert np.abs(fields["hands.right.joints"][i] - truth[i]).max() < 2e-3
        np.testing.assert_allclose(project(fields["hands.right.joints"][i], K), fields["hands.right.uv"][i], atol=1e-2)
        np.testing.assert_allclose(fields["hands.right.wrist"][i, :3, 3], fields["hands.right.joints"][i, 0], rtol=1e-6)
    assert fields["hands.right.confidence"][2] == 0
    for name in ("joints", "wrist", "uv"):
        assert np.isnan(fields[f"hands.right.{name}"][2]).all()
        assert np.isnan(fields[f"hands.left.{name}"]).all()
    assert not fields["hands.left.valid"].any() and not fields["hands.left.confidence"].any()


def test_scene_depth_sets_the_scale_of_the_whole_segment() -> None:
    truth, sides, intrinsics = _segment()
    depth = np.stack([_depth_of(joints, 3.0) for joints in truth])
    depth[4:] = 0  # frames without depth take the segment's scale too
    fields = lifted(sides, intrinsics, depth)
    for i in np.flatnonzero(fields["hands.right.valid"]):
        # 2%: joints and surface samples lie up to a centimetre apart at half a metre.
        np.testing.assert_allclose(fields["hands.right.joints"][i], 3 * truth[i], atol=0.02 * 3 * 0.6)
    metric = lifted(sides, intrinsics, depth, metric=True)
    plain = lifted(sides, intrinsics)
    np.testing.assert_array_equal(metric["hands.right.joints"], plain["hands.right.joints"])


def test_depth_that_is_not_the_hands_sets_no_scale() -> None:
    truth, _, _ = _segment(6)
    placed = [(i, t, project(t, K)) for i, t in enumerate(truth)]
    steady = np.stack([_depth_of(t, 2.0) for t in truth])
    assert scene_scale(placed, steady) == pytest.approx(2.0, rel=0.02)
    wild = np.stack([_depth_of(t, factor) for t, factor in zip(truth, (1.0, 2.0, 4.0, 1.5, 3.0, 6.0))])
    assert scene_scale(placed, wild) is None
    assert scene_scale(placed, np.zeros_like(steady)) is None
    assert scene_scale([], steady) is None
    away = [(i, t, uv + 1000) for i, t, uv in placed]
    assert scene_scale(away, steady) is None


def test_a_hand_keeps_its_size_over_the_segment() -> None:
    """The network's size errs from frame to frame; left alone it would shake the depth by as much."""
    truth = place(hand_joints("left"), (0.0, 0.0, 0.5))
    shaky = [
        Detection(project(truth, K), factor * (truth - truth.mean(0)), right=0.1, score=0.9)
        for factor in (0.9, 1.0, 1.2, 1.0, 0.8)
    ]
    fields = lifted({"left": shaky, "right": [None] * 5}, np.tile(K, (5, 1, 1)))
    z = fields["hands.left.joints"][:, :, 2].mean(1)
    assert np.ptp(z) < 1e-4
    assert palm_size(fields["hands.left.joints"][0]) == pytest.approx(palm_size(truth), rel=0.02)
