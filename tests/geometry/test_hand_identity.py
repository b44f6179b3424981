"""Hands over a seam: a number and a row are one hand's, whatever the segments called it."""

from __future__ import annotations

import numpy as np
from lifted_hands import rows_of, standing

from geoflow.geometry.hands.hand_identity import continued

SHARED = 2


def _next(held: dict[str, np.ndarray], now: dict[str, np.ndarray], free: int = 10) -> tuple[dict[str, np.ndarray], int]:
    """Join a segment of 4 frames to one whose last two frames it shares."""
    return continued({name: array[-SHARED:] for name, array in held.items()}, now, SHARED, free)


def test_the_first_hands_of_a_video_count_from_one() -> None:
    now = rows_of([standing(10, range(4), 4, strength=2), standing(100, [2, 3], 4)], 4)
    found, free = continued({}, now, 0, 1)
    assert found["hands.all.id"].tolist() == [[1, 0, 0]] * 2 + [[1, 2, 0]] * 2 and free == 3
    again, free = continued({}, now, 0, free)
    assert again["hands.all.id"].tolist() == [[3, 0, 0]] * 2 + [[3, 4, 0]] * 2 and free == 5, "without a shared frame"


def test_hands_stay_in_their_rows_though_the_next_segment_has_them_in_others() -> None:
    held = rows_of([standing(10, range(4), 4, strength=2), standing(100, range(4), 4)], 4)
    now = rows_of([standing(13, range(4), 4), standing(101, range(4), 4, strength=2)], 4)
    found, free = _next(held, now)
    assert found["hands.all.id"].tolist() == [[1, 2, 0]] * 4 and free == 10
    assert found["hands.all.uv"][3, 0, 0, 0] == 13 and found["hands.all.uv"][3, 1, 0, 0] == 101
    assert np.isnan(found["hands.all.joints"][:, 2]).all() and not found["hands.all.confidence"][:, 2].any()


def test_a_new_hand_takes_no_place_of_one_that_is_still_there() -> None:
    held = rows_of([standing(10, range(4), 4)], 4)
    now = rows_of([standing(100, range(4), 4)], 4)
    found, free = _next(held, now)
    assert found["hands.all.id"].tolist() == [[0, 10, 0]] * 4 and free == 11
    assert found["hands.all.found"].tolist() == [2, 2, 1, 1], "the hand of before is in the shared frames"


def test_a_hand_for_which_no_row_is_left_is_counted() -> None:
    held = rows_of([standing(10, range(4), 4, strength=2), standing(100, range(4), 4)], 4, rows=2)
    now = rows_of([standing(10, range(4), 4, strength=2), standing(200, range(4), 4)], 4, rows=2)
    found, _ = _next(held, now)
    assert found["hands.all.id"].tolist() == [[1, 0]] * 2 + [[1, 10]] * 2, "in the shared frames the row is another's"
    assert found["hands.all.found"].tolist() == [3, 3, 2, 2]


def test_a_hand_is_never_twice_in_a_frame() -> None:
    """In the shared frames its row is another hand's for a moment, so that from there on it has another row."""
    first = rows_of([standing(10, [0, 1, 2], 4, strength=2), standing(100, [3], 4)], 4, rows=1)
    free = rows_of([], 4, rows=1)
    held = {
        name: np.concatenate([a, free[name]], 1) if a.ndim > 1 and ".all." in name else a for name, a in first.items()
    }
    assert held["hands.all.id"].tolist() == [[1, 0], [1, 0], [1, 0], [2, 0]]
    now = rows_of([standing(10, range(4), 4, strength=2), standing(100, range(4), 4)], 4, rows=2)
    found, _ = _next(held, now)
    ids = found["hands.all.id"].copy()
    ids[:SHARED] = np.where(ids[:SHARED] > 0, ids[:SHARED], held["hands.all.id"][-SHARED:])
    assert ids.tolist() == [[1, 0], [2, 1], [2, 1], [2, 1]]
    assert found["hands.all.found"].tolist() == [2, 2, 2, 2], "one has no row in the first frame"
