"""Rows of hands: each hand has one, with its number; what has none is counted."""

from __future__ import annotations

import numpy as np
from hand_drawing import hand_joints, place
from lifted_hands import rows_of, standing

from geoflow import fields
from geoflow.fields import HAND_LEFT, HAND_RIGHT
from geoflow.geometry.cameras import project
from geoflow.geometry.hands.hand_lifting import lift_hands
from geoflow.geometry.hands.hand_motion import HandLimits
from geoflow.geometry.hands.hand_rows import GIVEN, hand_fields
from geoflow.geometry.hands.hand_sides import Detection, HandTrack

COUNT = 6


def _ids(found: dict[str, np.ndarray]) -> list[list[int]]:
    fields.check(found, GIVEN, who="rows", num_frames=len(found["hands.all.id"]))
    return found["hands.all.id"].tolist()


def test_two_left_hands_and_a_right_one_have_a_row_each() -> None:
    hands = [
        standing(10, range(6), COUNT, strength=3),
        standing(100, range(2, 5), COUNT, strength=2),
        standing(200, range(6), COUNT, side="right", strength=1),
    ]
    found = rows_of(hands, COUNT)
    assert _ids(found) == [[1, 0, 2]] * 2 + [[1, 3, 2]] * 3 + [[1, 0, 2]]
    assert found["hands.all.side"][3].tolist() == [HAND_LEFT, HAND_LEFT, HAND_RIGHT]
    assert found["hands.all.found"].tolist() == [2, 2, 3, 3, 3, 2]
    np.testing.assert_allclose(found["hands.all.right"][3], [0.1, 0.1, 0.9], atol=1e-6)
    assert np.isnan(found["hands.all.right"][0, 1]) and np.isnan(found["hands.all.joints"][0, 1]).all()
    np.testing.assert_array_equal(found["hands.all.uv"][3, 0], found["hands.left.uv"][3])
    np.testing.assert_array_equal(found["hands.all.uv"][3, 2], found["hands.right.uv"][3])


def test_hands_that_never_meet_share_a_row_only_if_none_is_free() -> None:
    hands = [standing(10, [0, 1], COUNT, strength=2), standing(100, [3, 4], COUNT)]
    assert _ids(rows_of(hands, COUNT, rows=2)) == [[1, 0]] * 2 + [[0, 0]] + [[0, 2]] * 2 + [[0, 0]]
    assert _ids(rows_of(hands, COUNT, rows=1)) == [[1], [1], [0], [2], [2], [0]]


def test_a_hand_without_a_row_is_counted() -> None:
    hands = [standing(x, range(COUNT), COUNT, strength=s) for x, s in ((10, 1), (100, 3), (200, 2))]
    found = rows_of(hands, COUNT, rows=2)
    assert _ids(found) == [[1, 2]] * COUNT
    assert [float(x) for x in found["hands.all.uv"][0, :, 0, 0]] == [100, 200], "the weakest is left out"
    assert found["hands.all.found"].tolist() == [3] * COUNT


def test_no_hands_at_all() -> None:
    found = rows_of([], COUNT)
    assert not np.any(_ids(found)) and not found["hands.all.found"].any() and not found["hands.all.valid"].any()


def test_of_two_persons_right_hands_each_keeps_its_own_size_and_gaps() -> None:
    k = np.array([[450, 0, 239.5], [0, 450, 179.5], [0, 0, 1]], np.float32)
    near = [place(hand_joints("right"), (-0.1, 0.0, 0.5)) for _ in range(COUNT)]
    far = [place(0.8 * hand_joints("right"), (0.2, 0.0, 0.9)) for _ in range(COUNT)]
    tracks = [
        HandTrack(frames, [Detection(project(joints[i], k), joints[i] - joints[i].mean(0), 0.98, 0.9) for i in frames])
        for joints, frames in ((near, [0, 1, 2, 3, 4, 5]), (far, [0, 1, 4, 5]))
    ]
    more = {"time_s": np.arange(COUNT) / 30, "limits": HandLimits()}
    hands, main = lift_hands(tracks, ["right", "right"], np.tile(k, (COUNT, 1, 1)), **more)
    found = hand_fields(hands, main, COUNT, 2)
    assert _ids(found) == [[1, 2]] * COUNT
    assert found["hands.all.filled"][:, 1].tolist() == [False, False, True, True, False, False]
    for row, truth in enumerate((near, far)):
        assert np.abs(found["hands.all.joints"][3, row] - truth[3]).max() < 0.02, "within a finger's width"
    np.testing.assert_array_equal(found["hands.right.joints"], found["hands.all.joints"][:, 0])
    assert not found["hands.left.valid"].any()
