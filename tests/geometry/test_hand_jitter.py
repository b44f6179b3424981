"""The jitter of a hand: none for one that moves evenly, as much as its joints shake for one that does not."""

from __future__ import annotations

import numpy as np
import pytest

from geoflow.geometry.hands.hand_jitter import hand_jitter

SHAPE = np.random.default_rng(0).uniform(0, [30, 40], (21, 2))
SHAPE[:2] = [0, 0], [30, 40]  # a box whose diagonal is 50 px


def test_an_even_motion_has_no_jitter_and_a_shake_is_measured_in_sizes_of_the_hand() -> None:
    uv = SHAPE + np.arange(9.0)[:, None, None] * [3, -2]
    valid = np.ones(9, bool)
    assert hand_jitter(uv, valid)[1:-1] == pytest.approx(np.zeros(7), abs=1e-6)
    shaken = uv.copy()
    shaken[4] += [3, 4]  # 5 px, a tenth of the hand
    assert hand_jitter(shaken, valid)[3:6] == pytest.approx([0.05, 0.1, 0.05])
    assert hand_jitter(2 * shaken, valid)[4] == pytest.approx(0.1), "a nearer hand jitters alike"


def test_it_is_unknown_without_three_frames_in_a_row() -> None:
    uv = np.tile(SHAPE, (6, 1, 1))
    uv[2] = np.nan
    found = hand_jitter(uv, np.array([1, 1, 0, 1, 1, 1], bool))
    assert np.isnan(found[[0, 1, 2, 3, 5]]).all() and found[4] == 0
    assert np.isnan(hand_jitter(uv[:2], np.ones(2, bool))).all()
