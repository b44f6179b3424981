"""Votes on the order of depth: reversed maps are dropped, and where too many contradict each other, all are."""

from __future__ import annotations

import numpy as np

from geoflow.geometry.depth.order_vote import contradicting, outvoted

RAMP = 1 + np.arange(64 * 64, dtype=np.float32).reshape(64, 64) / 1000
REVERSED = 1 / RAMP
FLAT = np.ones((64, 64), np.float32)


def test_a_reversed_map_is_outvoted_by_the_frames_around_it() -> None:
    maps = dict.fromkeys(range(0, 20, 2), RAMP) | {6: REVERSED, 8: REVERSED}
    assert outvoted(maps) == {6, 8}
    assert outvoted({t: RAMP * (1 + t) for t in range(5)}) == set()
    assert outvoted({}) == set()


def test_the_first_map_may_be_the_wrong_one() -> None:
    assert outvoted({0: REVERSED} | dict.fromkeys(range(1, 8), RAMP)) == {0}


def test_where_too_many_contradict_each_other_none_is_believed() -> None:
    assert outvoted({0: RAMP, 1: RAMP, 2: REVERSED, 3: REVERSED, 4: RAMP}) == set(range(5))


def test_maps_that_cannot_be_compared_do_not_contradict() -> None:
    assert outvoted({0: RAMP, 9: REVERSED}) == set()  # too far apart in time
    assert outvoted({0: RAMP, 1: FLAT, 2: np.zeros_like(RAMP)}) == set()


def test_each_stretch_of_frames_votes_by_itself() -> None:
    near = dict.fromkeys(range(6), RAMP)
    far = dict.fromkeys(range(50, 56), REVERSED)
    assert outvoted(near | far | {53: RAMP}) == {53}


def test_frames_that_contradict_another_source_are_dropped_if_most_agree_with_it() -> None:
    truth = dict.fromkeys(range(4), RAMP**2)
    assert contradicting({0: RAMP, 1: RAMP, 2: REVERSED, 9: REVERSED}, truth) == {2}
    assert contradicting({0: REVERSED, 1: REVERSED, 2: RAMP}, truth) == set()
    assert contradicting({}, truth) == set()
