"""Which frames can be one episode at the rate of a dataset, and their time stamps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from geoflow.errors import StoreError
from geoflow.export.dataset.rate import TOLERANCE_S, common_rate, even_runs, stamps_of, step_at


def test_stamps_of_a_steady_video_are_its_own() -> None:
    times = 12.5 + np.arange(300) * 1001 / 30000  # 29.97 a second, in a dataset of 30
    assert even_runs(times, 30.0) == [(0, 300)]
    stamps = stamps_of(times, 30.0)
    assert np.array_equal(stamps, times - 12.5)
    assert np.abs(np.diff(stamps) - 1 / 30).max() < TOLERANCE_S
    # The even series would be 10 ms off at the end, a hundred times the tolerance.
    assert abs(stamps[-1] - 299 / 30) > 9e-3


def test_stamps_of_rounded_times_are_even() -> None:
    times = np.round(np.arange(100) / 24, 3)  # 41, 42 ms and so on
    assert np.abs(np.diff(times) - 1 / 24).max() > TOLERANCE_S
    assert even_runs(times, 24.0) == [(0, 100)]
    np.testing.assert_allclose(stamps_of(times, 24.0), np.arange(100) / 24)


def test_frames_of_a_resampled_video_are_nearest_to_an_even_series() -> None:
    source = np.arange(240) / 24
    wanted = np.arange(100) / 10
    times = source[np.abs(source[:, None] - wanted).argmin(0)]  # `--fps 10` of 24 a second
    assert even_runs(times, 10.0) == [(0, 100)]
    np.testing.assert_allclose(stamps_of(times, 10.0), wanted)


def test_a_new_episode_begins_where_frames_are_missing() -> None:
    times = np.concatenate([np.arange(5), np.arange(8, 12)]) / 4
    assert even_runs(times, 4.0) == [(0, 5), (5, 9)]
    with pytest.raises(StoreError, match="not 4 a second"):
        stamps_of(times, 4.0)
    assert np.array_equal(stamps_of(times[5:], 4.0), np.arange(4) / 4)


def test_frames_that_drift_away_begin_anew() -> None:
    times = np.round(np.arange(100) / 23.5, 3)  # within 2.2 % of 24, but rounded
    runs = even_runs(times, 24.0)
    assert runs[0][0] == 0 and runs[-1][1] == 100 and len(runs) > 1
    assert all(a[1] == b[0] for a, b in itertools.pairwise(runs))
    for start, stop in runs:
        stamps_of(times[start:stop], 24.0)


def test_the_rate_of_most_frames() -> None:
    assert common_rate({30.0: 100, 29.97: 60, 24.0: 150}) == 30.0
    assert [step_at(own, 15.0) for own in (15.0, 30.0, 29.97, 60.0, 24.0, 7.5)] == [1, 2, 2, 4, 0, 0]
