"""Times from stamps: true ones are kept, stray ones are put between their neighbours, and it is said."""

from __future__ import annotations

import numpy as np
import pytest

from geoflow.video.times import NO_STAMP, frame_times

WRAP = 2**33
MS = 0.001


def times(stamps: list[int], rate: float = 25.0) -> tuple[list[float], str]:
    found, notes = frame_times(np.array(stamps, np.int64), 1.0, rate)
    assert (np.diff(found) > 0).all() and found[0] == 0
    return found.tolist(), " ".join(notes)


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([5, 6, 9, 20], [0, 1, 4, 15]),
        ([-3, -2, -1, 0], [0, 1, 2, 3]),
        ([2**62, 2**62 + 4096, 2**62 + 8192], [0, 4096, 8192]),
    ],
)
def test_true_stamps_are_taken_as_they_are(stamps: list[int], expected: list[float]) -> None:
    assert times(stamps) == (expected, "")


@pytest.mark.parametrize(
    ("stamps", "expected", "said"),
    [
        ([0, 10, 10, 40], [0, 10, 25, 40], "frame 2 "),
        ([0, 10, 20, 90, 30, 40], [0, 10, 20, 25, 30, 40], "frame 3 "),
        ([0, 10, 20, -90, 40], [0, 10, 20, 30, 40], "frame 3 "),
        ([10, 11, 12, 0, 14, 15], [0, 1, 2, 3, 4, 5], "frame 3 "),
        ([1000, 1, 2, 3], [0, 1, 2, 3], "frame 0 "),
        ([NO_STAMP, 5, 6, 7], [0, 1, 2, 3], "1 missing"),
        ([7, NO_STAMP, NO_STAMP, 13], [0, 2, 4, 6], "2 missing"),
        ([0, 1, 2, NO_STAMP], [0, 1, 2, 3], "1 missing"),
        ([0, 0, 2, 2, 4, 4], [0, 1, 2, 3, 4, 5], "3 frames (the first is frame 1)"),
    ],
)
def test_the_few_are_mended(stamps: list[int], expected: list[float], said: str) -> None:
    found, note = times(stamps)
    assert found == expected and said in note and "neighbours" in note


@pytest.mark.parametrize(
    "stamps", [[7] * 9, [NO_STAMP] * 4, [3, NO_STAMP, NO_STAMP], [0] * 50 + [9], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0] * 3]
)
def test_where_hardly_one_is_true_frames_are_counted(stamps: list[int]) -> None:
    found, note = times(stamps, rate=4.0)
    assert found == [k / 4 for k in range(len(stamps))] and "not measured, but counted at 4 frames" in note


def test_lots_are_no_clock() -> None:
    stamps = np.random.default_rng(0).integers(0, 10**9, 300)
    assert "counted" in times(stamps.tolist())[1]


@pytest.mark.parametrize("bits", [33, 32, 31])
def test_a_clock_that_wraps_goes_on(bits: int) -> None:
    true = np.arange(12) * 3600 + 2**bits - 5 * 3600
    found, note = times((true % 2**bits).tolist())
    assert found == (np.arange(12) * 3600).tolist() and "wraps at frame 5" in note


def test_a_clock_that_starts_again_is_joined_on() -> None:
    found, note = times([100, 110, 120, 130, 0, 5, 30, 40])
    assert found == [0, 10, 20, 30, 40, 45, 70, 80] and "starts again at frame 4" in note


def test_stamps_in_the_order_of_storage_are_put_in_order() -> None:
    found, note = times([0, 2, 3, 1, 5, 6, 4, 8, 9, 7, 11, 12, 10])
    assert found == list(range(13)) and "storage order" in note


def test_one_of_many_moves_no_other() -> None:
    rng = np.random.default_rng(2)
    true = np.cumsum(rng.integers(20, 60, 5000))
    bad = np.sort(rng.choice(np.arange(1, 4999), 40, replace=False))
    stamps = true.copy()
    stamps[bad] = rng.choice([0, 10**7, NO_STAMP], 40)
    found, _ = frame_times(stamps, MS, 25.0)
    good = np.setdiff1d(np.arange(5000), bad)
    np.testing.assert_allclose(found[good], (true[good] - true[0]) * MS, atol=1e-9)
    assert (np.diff(found) > 0).all()
