from __future__ import annotations

import numpy as np
from hand_drawing import hand_joints

from geoflow.geometry.hands.hand_sides import Detection, drop_duplicates, follow, main_hands, sides_of


def _at(x: float, right: float, score: float | None = None) -> Detection:
    """A hand 100 px tall around column x."""
    joints = hand_joints()
    uv = joints[:, :2] / np.ptp(joints[:, 1]) * 100 + [x, 200]
    return Detection(uv, joints, right=right, score=max(right, 1 - right) if score is None else score)


def _sides(frames: list[list[Detection]], **options: int) -> dict[str, list[Detection | None]]:
    """The main hand of each side."""
    tracks = follow(frames, **options)
    seen = np.zeros((len(tracks), len(frames)), bool)
    for k, track in enumerate(tracks):
        seen[k, track.frames] = True
    main = main_hands(seen, sides_of(tracks, len(frames)), [track.strength() for track in tracks])
    by_frame = [dict(zip(track.frames, track.detections)) for track in tracks]
    return {side: [by_frame[k][i] if k >= 0 else None for i, k in enumerate(chosen)] for side, chosen in main.items()}


def _columns(found: list[Detection | None]) -> list[float | None]:
    return [None if d is None else round(float(d.uv[0, 0])) for d in found]


def test_two_hands_keep_their_sides() -> None:
    frames = [[_at(100 + i, 0.1), _at(300 - i, 0.9)] for i in range(4)]
    sides = _sides(frames)
    assert _columns(sides["left"]) == [100, 101, 102, 103]
    assert _columns(sides["right"]) == [300, 299, 298, 297]


def test_one_wrong_frame_is_outvoted() -> None:
    frames = [[_at(100, 0.9)], [_at(102, 0.2)], [_at(104, 0.95)]]
    sides = _sides(frames)
    assert _columns(sides["right"]) == [100, 102, 104]
    assert _columns(sides["left"]) == [None] * 3


def test_hands_that_are_both_called_right_become_a_pair() -> None:
    frames = [[_at(100, 0.97), _at(300, 0.6)] for _ in range(5)]
    sides = _sides(frames)
    assert _columns(sides["right"]) == [100] * 5
    assert _columns(sides["left"]) == [300] * 5


def test_a_second_person_s_hand_that_is_surely_right_is_no_main_hand() -> None:
    frames = [[_at(100, 0.99), _at(300, 0.97)] for _ in range(5)]
    sides = _sides(frames)
    assert sides_of(follow(frames), 5) == ["right", "right"]
    assert _columns(sides["right"]) == [100] * 5
    assert _columns(sides["left"]) == [None] * 5


def test_a_hand_that_crosses_the_other_is_followed_by_its_place() -> None:
    frames = [[_at(100 + 20 * i, 0.9), _at(400, 0.1)] for i in range(6)]
    frames[3] = [_at(400, 0.1)]  # lost for a frame
    sides = _sides(frames)
    assert _columns(sides["right"]) == [100, 120, 140, None, 180, 200]
    assert _columns(sides["left"]) == [400] * 6


def test_a_long_loss_starts_anew() -> None:
    frames = [[_at(100, 0.9)], [], [], [], [], [_at(100, 0.2)]]
    sides = _sides(frames, max_gap=3, max_loss=3)
    assert _columns(sides["right"]) == [100, None, None, None, None, None]
    assert _columns(sides["left"]) == [None, None, None, None, None, 100]
    assert _columns(_sides(frames, max_gap=5)["right"]) == [100, None, None, None, None, 100]


def test_the_better_of_two_detections_on_one_hand_is_kept() -> None:
    kept = drop_duplicates([_at(100, 0.7), _at(108, 0.95), _at(200, 0.9)])
    assert [round(float(d.uv[0, 0])) for d in kept] == [108, 200]
    sides = _sides([[_at(100, 0.7), _at(108, 0.95)]])
    assert _columns(sides["right"]) == [108] and _columns(sides["left"]) == [None]


def test_no_hands_at_all() -> None:
    assert _sides([[], []]) == {"left": [None, None], "right": [None, None]}


def test_a_hand_keeps_its_side_through_a_short_occlusion() -> None:
    """Lost for twelve frames behind something; where it comes back, the detector calls it the other hand at first."""
    before = [[_at(100 + 3 * i, 0.9), _at(400, 0.05)] for i in range(5)]
    behind = [[_at(400, 0.05)] for _ in range(12)]
    after = [[_at(150 + 3 * i, 0.3), _at(400, 0.05)] for i in range(4)]
    sides = _sides([*before, *behind, *after])
    assert _columns(sides["right"]) == [100, 103, 106, 109, 112, *[None] * 12, 150, 153, 156, 159]
    assert _columns(sides["left"]) == [400] * 21


def test_a_hand_that_comes_back_too_late_or_too_far_off_is_another_one() -> None:
    before, after = [[_at(100, 0.9)]] * 5, [[_at(150, 0.2)]] * 3
    assert _columns(_sides([*before, *[[]] * 10, *after], max_loss=10)["right"])[-1] == 150
    assert _columns(_sides([*before, *[[]] * 11, *after], max_loss=10)["right"])[-1] is None
    far = [[_at(900, 0.2)]] * 3
    assert _columns(_sides([*before, *[[]] * 4, *far])["right"])[-1] is None


def test_hands_that_are_surely_of_different_sides_are_not_joined() -> None:
    """A right hand goes and a left one comes to the same place."""
    sides = _sides([*[[_at(100, 0.98)]] * 6, [], [], [], [], [], *[[_at(110, 0.02)]] * 6])
    assert _columns(sides["right"]) == [100] * 6 + [None] * 11
    assert _columns(sides["left"]) == [None] * 11 + [110] * 6


def test_of_two_that_are_surely_right_the_nearer_hand_is_taken() -> None:
    near, far = _at(100, 0.97), _at(300, 0.99)
    small = Detection(far.uv.mean(0) + 0.4 * (far.uv - far.uv.mean(0)), far.shape_m, far.right, far.score)
    assert _columns(_sides([[small, near]])["right"]) == [100]
