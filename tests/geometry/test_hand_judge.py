"""The judge with a pretended network, whose score depends on how a place is cut out."""

from __future__ import annotations

import numpy as np
import pytest
from hand_drawing import hand_joints

from geoflow.geometry.hands.hand_judge import belief, only_hands
from geoflow.geometry.hands.hand_search import Place, Sight
from geoflow.geometry.hands.hand_sides import Detection, follow

WIDTH, SIDE, X = 400, 100.0, 120.0
JOINTS = hand_joints()[:, :2] * 500 + [X, 100]
PLAIN, MIRRORED = np.zeros((200, WIDTH, 3), np.uint8), np.zeros((200, WIDTH, 3), np.uint8)
PLAIN[:, 0] = 255
MIRRORED[:, -1] = 255


class PretendedEye:
    """Sees a hand with the score that is stated for a mirrored, resized, turned or wide look; None: sees nothing."""

    def __init__(
        self, *, mirrored: float | None, resized: float | None, turned: float | None, wide: float | None = 0.9
    ) -> None:
        self.scores = {"mirrored": mirrored, "resized": resized, "turned": turned, "wide": wide}
        self.kinds: list[str] = []

    def propose(self, rgb: np.ndarray) -> list[Place]:
        return []

    def look(self, rgb: np.ndarray, place: Place) -> Sight | None:
        if np.array_equal(rgb, MIRRORED):
            kind = "mirrored"
            assert (place.x, place.turn, place.side) == (WIDTH - 1 - X, -0.1, SIDE)
        else:
            kind = "turned" if place.side == SIDE else "wide" if place.side > 1.5 * SIDE else "resized"
            assert place.x == X and (place.turn == 0.1) == (kind != "turned")
        self.kinds.append(kind)
        score = self.scores[kind]
        return None if score is None else Sight(Detection(JOINTS, hand_joints(), 0.9, score), place)


def _clip(scores: list[float]) -> list[list[Sight]]:
    """A hand that does not move; a score of 0 is a frame without one."""
    place = Place(X, 100, SIDE, 0.1)
    return [[Sight(Detection(JOINTS, hand_joints(), 0.9, score), place)] if score else [] for score in scores]


def _kept(scores: list[float], eye: PretendedEye, min_belief: float = 0.79) -> int:
    found = _clip(scores)
    tracks = follow([[sight.detection for sight in sights] for sights in found])
    return len(only_hands(found, tracks, [PLAIN] * len(found), eye, min_belief))


def test_a_hand_stays_a_hand_in_every_look() -> None:
    eye = PretendedEye(mirrored=0.9, resized=0.9, turned=0.9)
    assert _kept([0.9] * 8, eye) == 1
    assert eye.kinds == ["mirrored", "resized", "resized", "turned", "turned"] * 5 + ["wide"] * 5


def test_what_looks_like_a_hand_in_one_cut_only_is_left_out() -> None:
    """An ear: 0.9 in nine frames, but little of a hand where the square is larger or mirrored."""
    assert _kept([0.9] * 9, PretendedEye(mirrored=0.64, resized=0.4, turned=0.8)) == 0
    assert _kept([0.9] * 9, PretendedEye(mirrored=None, resized=0.7, turned=0.9)) == 0


def test_what_is_no_hand_where_its_arm_should_show_is_left_out() -> None:
    """A thing behind a table leg: 0.87 in close looks, 0.55 in wide ones. The least of the hands had 0.86 and 0.65."""
    thing, hand = (PretendedEye(mirrored=s, resized=s, turned=s, wide=w) for s, w in ((0.87, 0.55), (0.86, 0.65)))
    assert _kept([0.87] * 9, thing) == 0 and _kept([0.86] * 9, hand) == 1
    assert _kept([0.87] * 9, thing, 0.7) == 1, "who asks for less belief gets more"
    assert _kept([0.87], thing) == 1 and "wide" not in thing.kinds[-5:], "in a photo nothing is asked"
    lost = PretendedEye(mirrored=0.9, resized=0.9, turned=0.9, wide=None)
    assert _kept([0.9] * 9, lost) == 0


def test_low_scores_over_time_are_no_hand_though_the_looks_are_good() -> None:
    """A cow's spots: its frames have 0.6."""
    eye = PretendedEye(mirrored=0.9, resized=0.9, turned=0.9)
    assert _kept([0.6] * 9, eye) == 0 and _kept([0.6] * 9, eye, 0.7) == 1


def test_a_glimpse_in_a_video_is_no_hand_and_in_a_photo_it_is() -> None:
    eye = PretendedEye(mirrored=0.95, resized=0.95, turned=0.95)
    assert _kept([0, 0.95, 0.95, 0, 0], eye) == 0
    assert _kept([0, 0.95, 0.95, 0.95, 0], eye) == 1
    assert _kept([0.95], eye) == 1 and _kept([0.95, 0.95], eye) == 1


def test_the_judge_can_be_turned_off() -> None:
    eye = PretendedEye(mirrored=None, resized=None, turned=None)
    assert _kept([0.5, 0, 0, 0], eye, 0) == 1 and not eye.kinds


def test_belief_is_the_geometric_mean_of_both_kinds_of_scores() -> None:
    found = _clip([0.8, 0.8, 0.4])
    (track,) = follow([[sight.detection for sight in sights] for sights in found])
    places = {id(s.detection): s.place for sights in found for s in sights}
    eye = PretendedEye(mirrored=0.5, resized=0.5, turned=0.5)
    assert belief(track, places, [PLAIN] * 3, eye) == pytest.approx(np.sqrt(0.8 * 0.5))
