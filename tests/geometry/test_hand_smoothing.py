"""The filter: it keeps what does not tremble, runs without lag, and stands on any axes; what trembles is measured."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from geoflow.geometry.hands.hand_smoothing import (
    NOT_SMOOTHED,
    Smoothing,
    jitter,
    part_of_turn,
    smooth_places,
    smooth_rotations,
    turn_between,
)

TIME = np.arange(90) / 30


def test_a_hand_at_rest_stays_and_none_is_turned_off() -> None:
    places = np.tile([0.1, 0.2, 0.5], (90, 1))
    assert np.allclose(smooth_places(places, TIME, Smoothing()), places)
    noise = np.random.default_rng(0).normal(size=(90, 3))
    assert smooth_places(noise, TIME, NOT_SMOOTHED) is noise
    assert np.array_equal(smooth_places(noise[:1], TIME[:1], Smoothing()), noise[:1])


def test_motion_is_followed_without_lag() -> None:
    places = np.c_[0.2 * np.sin(2 * np.pi * 0.5 * TIME), 0 * TIME, 0 * TIME]
    found = smooth_places(places, TIME, Smoothing())
    lags = [np.corrcoef(found[10 + k : 80 + k, 0], places[10:80, 0])[0, 1] for k in range(-5, 6)]
    assert int(np.argmax(lags)) == 5 and np.abs(found - places)[10:80].max() < 0.02


def test_trembling_is_taken_from_places_and_turns() -> None:
    rng = np.random.default_rng(1)
    places = np.array([0, 0, 0.5]) + 0.005 * rng.normal(size=(90, 3))
    assert jitter(smooth_places(places, TIME, Smoothing()), TIME) < jitter(places, TIME) / 4
    turns = Rotation.from_rotvec([2.0, 0.5, 0.1]) * Rotation.from_rotvec(0.05 * rng.normal(size=(90, 3)))
    matrices = turns.as_matrix()[:, None]
    found = smooth_rotations(matrices, TIME, Smoothing())
    still = Rotation.from_rotvec([2.0, 0.5, 0.1]).as_matrix()
    off = [np.linalg.norm(turn_between(np.broadcast_to(still, r.shape), r), axis=-1).mean() for r in (matrices, found)]
    assert off[1] < off[0] / 2.5 and np.allclose(found @ found.swapaxes(-1, -2), np.eye(3), atol=1e-9)


def test_the_axes_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    places, turn = rng.normal(size=(90, 3)).cumsum(0) * 0.01, Rotation.from_rotvec([0.4, 1.0, -0.3]).as_matrix()
    assert np.allclose(
        smooth_places(places @ turn.T, TIME, Smoothing()), smooth_places(places, TIME, Smoothing()) @ turn.T
    )
    rotations = Rotation.from_rotvec(rng.normal(size=(90, 3)) * 0.2).as_matrix()
    assert np.allclose(
        smooth_rotations(turn @ rotations, TIME, Smoothing()), turn @ smooth_rotations(rotations, TIME, Smoothing())
    )


def test_jitter_is_the_distance_from_the_middle_of_the_neighbours() -> None:
    zigzag = np.c_[np.arange(9) * 0.1, 0.003 * (-1) ** np.arange(9), np.zeros(9)]
    assert jitter(zigzag, TIME[:9]) == pytest.approx(0.006)
    uneven = np.array([0, 1, 3, 4.0, 9])
    assert jitter(np.c_[uneven, uneven, uneven], uneven) == pytest.approx(0, abs=1e-12)
    assert np.isnan(jitter(zigzag[:2], TIME[:2]))


def test_only_what_was_seen_trembles() -> None:
    zigzag = np.c_[0.003 * (-1) ** np.arange(12), np.zeros((12, 2))]
    zigzag[5] = np.nan
    seen = np.isfinite(zigzag[:, 0])
    assert jitter(zigzag, TIME[:12], seen) == pytest.approx(0.006)
    assert np.isnan(jitter(zigzag, TIME[:12], np.arange(12) % 2 == 0))


def test_equal_times_do_no_harm() -> None:
    places = np.random.default_rng(3).normal(size=(5, 3))
    assert np.isfinite(smooth_places(places, np.zeros(5), Smoothing())).all() and np.isfinite(
        jitter(places, np.zeros(5))
    )


def test_half_a_turn_is_half_way() -> None:
    a = np.eye(3)[None]
    b = Rotation.from_rotvec([0, 0, np.pi - 1e-6]).as_matrix()[None]
    half = part_of_turn(a, turn_between(a, b), np.array([0.5]))
    assert Rotation.from_matrix(half[0]).magnitude() == pytest.approx(np.pi / 2, abs=1e-5)
