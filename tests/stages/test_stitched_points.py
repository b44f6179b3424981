"""Points that two segments follow: one fades into the other, and what only one knows is taken from it."""

from __future__ import annotations

import numpy as np

from geoflow.geometry.track_seams import faded_points, kept_points

SHARED = 3
WEIGHT = np.array([0.25, 0.5, 0.75])

Fields = dict[str, np.ndarray]


def _segment(frames: int, numbers: list[int], at: float) -> Fields:
    count = len(numbers)
    return {
        "tracks.id": np.array(numbers, np.int32),
        "tracks.xyz": np.full((frames, count, 3), at, np.float32),
        "tracks.uv": np.full((frames, count, 2), 10 * at, np.float32),
        "tracks.visible": np.ones((frames, count), bool),
        "tracks.query": np.zeros((count, 4), np.float32),
    }


def _faded(before: Fields, after: Fields) -> Fields:
    frames = len(before["tracks.visible"])
    return {**after, **faded_points(kept_points(before, frames - SHARED), after, SHARED)}


def test_a_point_that_goes_on_fades_from_one_segment_to_the_next() -> None:
    before, after = _segment(5, [4, 7, 9], 1.0), _segment(6, [7, 9, 12], 2.0)
    found = _faded(before, after)
    for name, factor in (("tracks.xyz", 1), ("tracks.uv", 10)):
        assert np.allclose(found[name][:SHARED, :2], factor * (1 + WEIGHT)[:, None, None])
        assert (found[name][:SHARED, 2] == 2 * factor).all(), "a new point has nothing to fade from"
        assert (found[name][SHARED:] == 2 * factor).all()
    assert found["tracks.visible"].all()
    assert (after["tracks.xyz"] == 2).all(), "the input stays as it is"


def test_what_one_segment_does_not_know_is_taken_from_the_other() -> None:
    before, after = _segment(5, [1, 2, 3], 1.0), _segment(6, [1, 2, 3], 2.0)
    before["tracks.xyz"][:, 0], before["tracks.visible"][:, 0] = np.nan, False
    after["tracks.xyz"][:, 1], after["tracks.visible"][:, 1] = np.nan, False
    found = _faded(before, after)
    assert (found["tracks.xyz"][:SHARED, 0] == 2).all() and (found["tracks.xyz"][:SHARED, 1] == 1).all()
    assert found["tracks.visible"][:SHARED].all()
    assert not found["tracks.visible"][SHARED:, 1].any()


def test_of_two_that_know_the_place_the_nearer_says_whether_it_is_visible() -> None:
    before, after = _segment(5, [1], 1.0), _segment(6, [1], 2.0)
    after["tracks.visible"][:] = False
    assert _faded(before, after)["tracks.visible"][:SHARED, 0].tolist() == [True, False, False]


def test_points_without_numbers_are_left_alone() -> None:
    before, after = _segment(5, [1], 1.0), _segment(6, [1], 2.0)
    del before["tracks.id"]
    assert kept_points(before, 2) == {} and faded_points({}, after, SHARED) == {}
