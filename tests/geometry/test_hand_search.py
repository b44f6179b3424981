"""The search with pretended networks: hands are points that a picture's pixels name."""

from __future__ import annotations

import numpy as np
from hand_drawing import hand_joints

from geoflow.geometry.hands.hand_search import HandSearch, Place, Sight, find_hands
from geoflow.geometry.hands.hand_sides import Detection

SIDE = 100.0
JOINTS = hand_joints()[:, :2] / np.ptp(hand_joints()[:, 1]) * 60


class PretendedEye:
    """Knows where hands are: per frame (x, whether the palm detector proposes it, presence, right).

    A look lands half-way between where it was sent and the hand, and finds nothing beyond 40 px.
    """

    def __init__(self, truth: list[list[tuple[float, float, float, float]]]) -> None:
        self.truth, self.looks = truth, 0

    def frames(self) -> list[np.ndarray]:
        return [np.full((200, 400, 3), i, np.uint8) for i in range(len(self.truth))]

    def propose(self, rgb: np.ndarray) -> list[Place]:
        hands = self.truth[int(rgb[0, 0, 0])]
        return [Place(x + 20, 100, SIDE, 0.0, palm) for x, palm, _, _ in hands if palm]

    def look(self, rgb: np.ndarray, place: Place) -> Sight | None:
        self.looks += 1
        for x, _, presence, right in self.truth[int(rgb[0, 0, 0])]:
            if abs(x - place.x) < 40:
                at = (x + place.x) / 2
                uv = JOINTS - JOINTS.mean(0) + [at, 100]
                return Sight(Detection(uv, hand_joints(), right, presence), Place(at, 100, SIDE, 0.0))
        return None


def _columns(found: list[list[Sight]]) -> list[list[int]]:
    return [sorted(round(float(s.detection.uv[:, 0].mean())) for s in frame) for frame in found]


def test_a_hand_proposed_once_is_followed_both_ways() -> None:
    eye = PretendedEye([[(100 + 4 * i, 0.9 if i == 3 else 0.0, 0.95, 0.9)] for i in range(7)])
    found = find_hands(eye.frames(), eye, HandSearch())
    assert [len(frame) for frame in found] == [1] * 7
    assert all(abs(columns[0] - (100 + 4 * i)) <= 4 for i, columns in enumerate(_columns(found)))


def test_a_new_place_is_looked_at_until_it_is_centred_and_its_side_is_the_mean() -> None:
    eye = PretendedEye([[(100, 0.9, 0.95, 0.7)]])
    (frame,) = find_hands(eye.frames(), eye, HandSearch(search_every=0))
    assert (
        eye.looks == 3
        and abs(float(frame[0].detection.uv[:, 0].mean()) - 100) < 3
        and abs(frame[0].detection.right - 0.7) < 1e-9
    )


def test_what_the_palm_detector_hardly_likes_must_be_surely_a_hand() -> None:
    for palm, presence, expected in ((0.5, 0.6, 1), (0.5, 0.4, 0), (0.12, 0.6, 0), (0.12, 0.9, 1)):
        eye = PretendedEye([[(100, palm, presence, 0.9)]])
        assert len(find_hands(eye.frames(), eye, HandSearch())[0]) == expected, (palm, presence)


def test_a_third_hand_is_left_out_and_it_is_the_one_liked_least() -> None:
    eye = PretendedEye([[(60, 0.9, 0.9, 0.9), (180, 0.25, 0.99, 0.9), (300, 0.8, 0.9, 0.1)]])
    (columns,) = _columns(find_hands(eye.frames(), eye, HandSearch()))
    assert [round(c, -1) for c in columns] == [60, 300]


def test_more_than_two_hands_are_looked_for_in_every_tenth_frame_and_followed() -> None:
    third = [(300, 0.8 if i in (4, 10) else 0.0, 0.9, 0.1) for i in range(14)]
    eye = PretendedEye([[(60, 0.9, 0.9, 0.9), (180, 0.9, 0.9, 0.1), third[i]] for i in range(14)])
    found = find_hands(eye.frames(), eye, HandSearch(max_hands=6))
    assert [len(frame) for frame in found] == [3] * 14, "backwards, too"
    assert [len(frame) for frame in find_hands(eye.frames()[:10], eye, HandSearch(max_hands=6))] == [2] * 10


def test_a_hand_that_was_lost_for_a_moment_is_not_found_twice() -> None:
    """Lost between frames 1 and 2, and proposed again: from there the look back lands beside where it is known."""

    class Beside(PretendedEye):
        def look(self, rgb: np.ndarray, place: Place) -> Sight | None:
            if not (rgb[0, 0, 0] == 1 and place.x > 112):
                return super().look(rgb, place)
            uv = JOINTS - JOINTS.mean(0) + [121, 100]
            return Sight(Detection(uv, hand_joints(), 0.9, 0.9), Place(121, 100, SIDE, 0.0))

    eye = Beside([[(100, 0.9, 0.9, 0.9)], [(100, 0.0, 0.9, 0.9)], [(150, 0.9, 0.9, 0.9)]])
    found = find_hands(eye.frames(), eye, HandSearch(max_hands=6))
    assert [len(frame) for frame in found] == [1, 1, 1]


def test_a_lost_hand_is_not_followed_any_further() -> None:
    eye = PretendedEye([[(100, 0.9, 0.9, 0.9)], [(100, 0.0, 0.3, 0.9)], [(100, 0.0, 0.9, 0.9)]])
    assert [len(frame) for frame in find_hands(eye.frames(), eye, HandSearch())] == [1, 0, 0]


def test_a_place_gone_astray_is_not_looked_at() -> None:
    class Astray(PretendedEye):
        def look(self, rgb: np.ndarray, place: Place) -> Sight | None:
            assert place.side < 1000, "a square of any size would be cut out of the picture"
            self.looks += 1
            return Sight(Detection(JOINTS, hand_joints(), 0.9, 0.9), Place(100, 100, 1e6, 0.0))

    eye = Astray([[(100, 0.9, 0.9, 0.9)]])
    assert find_hands(eye.frames(), eye, HandSearch(search_every=0)) == [[]] and eye.looks == 1


def test_parts_of_the_picture_are_searched_only_when_asked() -> None:
    class Small(PretendedEye):
        """Proposes what it is shown only in less than the whole picture."""

        def propose(self, rgb: np.ndarray) -> list[Place]:
            self.sizes.append(rgb.shape[:2])
            return [] if rgb.shape[1] == 400 else [Place(100, 100, SIDE, 0.0, 0.9)]

        sizes: list[tuple[int, int]]

    for every, expected in ((0, [0] * 4), (3, [1] * 4)):
        eye = Small([[(100, 0.9, 0.95, 0.9)]] * 4)
        eye.sizes = []
        assert [len(f) for f in find_hands(eye.frames(), eye, HandSearch(max_hands=1, search_every=every))] == expected
    assert (200, 240) in eye.sizes


def test_what_a_part_of_the_picture_shows_does_not_displace_a_known_hand() -> None:
    class Twice(PretendedEye):
        """The same hand again, a little off and with a higher score, when it is proposed in a part of the picture."""

        def propose(self, rgb: np.ndarray) -> list[Place]:
            return super().propose(rgb) if rgb.shape[1] == 400 else [Place(130, 100, SIDE, 0.0, 0.95)]

        def look(self, rgb: np.ndarray, place: Place) -> Sight | None:
            sight = super().look(rgb, place)
            if sight is None or place.x < 115:
                return sight
            better = Detection(JOINTS - JOINTS.mean(0) + [112, 100], hand_joints(), 0.9, 0.99)
            return Sight(better, Place(130, 100, SIDE, 0.0))

    eye = Twice([[(92, 0.9, 0.9, 0.9)]])
    ((column,),) = _columns(find_hands(eye.frames(), eye, HandSearch(search_every=1)))
    assert column < 100
