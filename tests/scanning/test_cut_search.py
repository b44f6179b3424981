"""Cuts are found in few frames, within the frames that may be read."""

from __future__ import annotations

import itertools

import hard_clips
import numpy as np

from geoflow.geometry.views import compare_views
from geoflow.scanning.cut_search import CutSearch, find_cuts


def search(film: np.ndarray, looks: int, budget: int) -> tuple[CutSearch, int]:
    """What is found, and how many frames are read for it."""
    read: list[int] = []

    def frames(numbers: list[int]) -> dict[int, np.ndarray]:
        assert numbers == sorted(numbers)
        read.extend(numbers)
        return {number: film[number] for number in numbers}

    numbers = np.linspace(0, len(film) - 1, looks).round().astype(int).tolist()
    changes = [compare_views(film[a], film[b]) for a, b in itertools.pairwise(numbers)]
    found = find_cuts({number: film[number] for number in numbers}, changes, len(film), frames, budget)
    return found, len(read)


def test_a_cut_in_a_long_film_is_found_by_halving() -> None:
    first, second = hard_clips.cut(4).rgb[3], hard_clips.cut(4).rgb[4]
    film = np.broadcast_to(first, (2000, *first.shape)).copy()
    film[1234:] = second
    found, read = search(film, looks=4, budget=100)
    assert found == CutSearch(cuts=(1234,), stretches=1, unsearched=0)
    assert read <= 6 + 26  # 666 frames halved six times, and one stretch read through


def test_without_frames_to_read_it_is_said_that_cuts_may_be_there() -> None:
    film = hard_clips.cut(20).rgb
    nothing = search(film, looks=4, budget=0)[0]
    assert nothing.cuts == () and nothing.unsearched == nothing.stretches > 0
    found = search(film, looks=4, budget=60)[0]
    assert found.cuts == (20,) and found.unsearched == 0


def test_a_moving_camera_makes_no_cut() -> None:
    assert search(hard_clips.walk(40).rgb, looks=4, budget=200)[0].cuts == ()
