"""Hands of a hand model through a segment, against exact truth: distance, trembling, gaps, both sides alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from moving_hands import BODY, FPS, HEIGHT, OFFSET, WIDTH, K, MovingHand, depth_of, moving_hand, seen

from geoflow.geometry.cameras import project
from geoflow.geometry.hands.hand_motion import HandLimits, steady_frames
from geoflow.geometry.hands.hand_smoothing import Smoothing, jitter
from geoflow.geometry.hands.posed_hands import PosedHand, lift_posed_hands
from geoflow.models.mano.rotations import from_axis_angle

COUNT = 60
HIDDEN = range(25, 35)
LIMITS = HandLimits(depth_offset=OFFSET)


def lifted(hand: MovingHand, what: PosedHand | None = None, depth: Any = None, **more: Any) -> dict[str, np.ndarray]:
    """The arrays of the main hand of its side."""
    count = len(hand.wrist)
    given = {"limits": LIMITS, "metric": True, "time_s": np.arange(count) / FPS} | more
    steady = steady_frames(hand.cam_from_world, np.ones(count, bool))
    poses = given.pop("world_from_cam", steady)
    cameras = np.tile(K, (count, 1, 1))
    every, main = lift_posed_hands([what or seen(hand)], BODY.of_side, cameras, depth, world_from_cam=poses, **given)
    assert every[0].side == hand.side
    return main[hand.side]


def errors(found: dict[str, np.ndarray], hand: MovingHand, scale: float = 1.0) -> np.ndarray:
    return np.linalg.norm(found["wrist"][:, :3, 3] / scale - hand.wrist, axis=1)[found["valid"]]


def in_world(places: np.ndarray, hand: MovingHand) -> np.ndarray:
    back = np.linalg.inv(hand.cam_from_world)
    return (back[:, :3, :3] @ places[..., None])[..., 0] + back[:, :3, 3]


def test_depth_brings_a_hand_to_where_it_is_and_to_its_size() -> None:
    hand = moving_hand()
    without, found = lifted(hand), lifted(hand, depth=depth_of(hand))
    assert np.median(errors(without, hand)) > 0.05, "12 % too small, so 6 cm too near"
    assert np.median(errors(found, hand)) < 0.01 and errors(found, hand).max() < 0.02
    assert np.abs(found["mano_scale"] / hand.size - 1).max() < 0.1, "the network's distance trembles by 3 %"
    # What decides between size and distance does not move the hand in the image.
    assert np.abs(found["uv"] - without["uv"]).max() < 0.05
    assert np.isnan(found["scale"]).all(), "in metres"


def test_smoothing_takes_the_trembling_and_leaves_the_motion() -> None:
    hand, depth = moving_hand(), None
    time = np.arange(COUNT) / FPS
    rough, smooth = (lifted(hand, depth=depth, smoothing=Smoothing(cutoff)) for cutoff in (0, 1.5))
    before, after, true = (
        jitter(in_world(row, hand), time) for row in (rough["wrist"][:, :3, 3], smooth["wrist"][:, :3, 3], hand.wrist)
    )
    assert after < before / 3 and true < after, (before, after, true)
    span = in_world(smooth["wrist"][:, :3, 3], hand), hand.wrist_in_world / hand.size
    assert np.corrcoef(span[0][:, 0], span[1][:, 0])[0, 1] > 0.99
    turned = [from_axis_angle(row["mano_pose"])[:, 5] for row in (rough, smooth)]
    off = [np.linalg.norm(row - hand.rotations[:, 5], axis=(1, 2)).mean() for row in turned]
    assert off[1] < 0.7 * off[0]


def test_a_hand_that_was_hidden_is_the_same_hand_and_is_filled() -> None:
    hand = moving_hand()
    what = seen(hand, HIDDEN)
    found = lifted(hand, what, depth_of(hand), smoothing=Smoothing())
    assert found["valid"].all() and np.flatnonzero(found["filled"]).tolist() == list(HIDDEN)
    assert not found["confidence"][list(HIDDEN)].any() and (found["confidence"][:25] > 0.8).all()
    assert errors(found, hand)[list(HIDDEN)].max() < 0.03
    short = lifted(hand, what, limits=HandLimits(max_gap=9))
    assert np.flatnonzero(~short["valid"]).tolist() == list(HIDDEN) and not short["filled"].any()


def test_left_and_right_are_alike() -> None:
    right, left = moving_hand(side="right"), moving_hand(side="left")
    rows = {}
    for hand in (right, left):
        rows[hand.side] = lifted(hand, seen(hand, HIDDEN), depth_of(hand), smoothing=Smoothing())
    mirrored = rows["left"]["joints"] * [-1, 1, 1]
    assert np.abs(mirrored - rows["right"]["joints"]).max() < 0.01 * 0.55
    assert abs(np.median(errors(rows["left"], left)) / np.median(errors(rows["right"], right)) - 1) < 0.01
    assert np.allclose(rows["left"]["mano_pose"] * [1, -1, -1], rows["right"]["mano_pose"], atol=1e-4)
    assert np.allclose(rows["left"]["mano_scale"], rows["right"]["mano_scale"], rtol=0.01)


@pytest.mark.parametrize("side", ["left", "right"])
def test_pixels_pose_shape_and_scale_belong_together(side: str) -> None:
    hand = moving_hand(side=side)
    found = lifted(hand, seen(hand, HIDDEN), depth_of(hand), smoothing=Smoothing(), vertices=True)
    for uv, joints in zip(found["uv"], found["joints"]):
        assert np.abs(project(joints, K) - uv).max() < 1e-3
    joints, vertices = BODY.of_side(from_axis_angle(found["mano_pose"]), found["betas"], side)
    for name, made in (("joints", joints), ("vertices", vertices)):
        placed = (made - joints[:, :1]) * found["mano_scale"][:, None, None] + found["wrist"][:, None, :3, 3]
        assert np.abs(placed - found[name]).max() < 1e-5, name
    assert np.ptp(found["betas"], axis=0).max() == 0, "one hand has one shape"


def test_a_scene_of_another_unit_gets_hands_of_its_unit() -> None:
    hand, unit = moving_hand(size=1.0), 7.0
    poses = np.linalg.inv(hand.cam_from_world)
    poses[:, :3, 3] *= unit
    given = {"metric": False, "world_from_cam": poses, "smoothing": Smoothing()}
    found = lifted(hand, depth=(unit * depth_of(hand)).astype(np.float16), **given)
    assert found["scale"] == pytest.approx(np.full(COUNT, unit), rel=0.03)
    assert np.median(errors(found, hand, unit)) < 0.01
    apart = lifted(hand, depth=None, **given)
    assert np.isnan(apart["scale"]).all() and np.median(errors(apart, hand)) < 0.03, "in metres"


def test_holes_and_occluders_do_not_move_a_hand() -> None:
    hand = moving_hand()
    exact = depth_of(hand)
    plain = lifted(hand, depth=exact)
    holes, behind, before = exact.copy(), exact.copy(), exact.copy()
    holes[np.random.default_rng(0).random(exact.shape) < 0.6] = 0
    behind[20:26] = 2.5  # the hand is not in the depth at all
    middle = np.rint(hand.uv[:, 9, 0]).astype(int)
    for i in range(30, 36):
        before[i, :, middle[i] :] = 0.2  # something near covers a part of it
    for depth in (holes, behind, before):
        found = lifted(hand, depth=depth)
        moved = np.linalg.norm(found["wrist"][:, :3, 3] - plain["wrist"][:, :3, 3], axis=1)
        assert np.median(moved) < 0.005 and moved.max() < 0.04, moved.max()
    for nothing in (np.zeros_like(exact), np.full_like(exact, 2.5)):
        found = lifted(hand, depth=nothing)
        assert np.allclose(found["wrist"], lifted(hand)["wrist"]), "depth that is not the hand's is not used"


def test_motion_that_is_too_fast_is_left_out_and_filled() -> None:
    hand = moving_hand(size=1.0)
    what = seen(hand, distance=0.0)
    what.states.wrist[30] += (0.4, 0, 0)
    found = lifted(hand, what)
    assert found["filled"][30] and errors(found, hand)[30] < 0.01


def test_two_tracks_of_one_side_make_one_main_hand_of_one_shape() -> None:
    hand = moving_hand()
    whole = seen(hand)
    parts = [
        PosedHand("right", 0.9, strength, whole.states.rows(slice(*rows)))
        for strength, rows in ((2.0, (0, 25)), (1.0, (35, 60)))
    ]
    cameras, time = np.tile(K, (COUNT, 1, 1)), np.arange(COUNT) / FPS
    every, main = lift_posed_hands(parts, BODY.of_side, cameras, time_s=time, limits=LIMITS)
    assert [hand.arrays["valid"].sum() for hand in every] == [25, 25]
    assert main["right"]["valid"].all() and not main["left"]["valid"].any()
    assert np.ptp(main["right"]["betas"], axis=0).max() == 0 and main["right"]["filled"].sum() == 10


def test_no_hands_are_no_hands() -> None:
    every, main = lift_posed_hands([], BODY.of_side, np.tile(K, (4, 1, 1)), time_s=np.arange(4) / FPS, vertices=True)
    assert every == [] and main["left"]["vertices"].shape == (4, 778, 3)
    assert not main["right"]["valid"].any() and np.isnan(main["right"]["mano_pose"]).all()
    blank = np.zeros((4, HEIGHT, WIDTH), np.float16)
    assert not lift_posed_hands([], BODY.of_side, np.tile(K, (4, 1, 1)), blank, time_s=np.zeros(4))[1]["left"][
        "valid"
    ].any()
