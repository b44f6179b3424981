"""Where cuts are, found without reading the whole video: the search goes where the view changes most."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geoflow.fields import VIEW_CUT
from geoflow.geometry.views import ViewChange, classify_views, compare_views

_STRETCH = 24  # frames: shorter stretches are read as a whole

Read = Callable[[list[int]], dict[int, np.ndarray]]  # rising numbers of frames -> the frames (H, W, 3) uint8


@dataclass(frozen=True)
class CutSearch:
    """What a search found: at least these cuts, and in how many stretches it could not look further."""

    cuts: tuple[int, ...]  # the first frame of each new shot, rising
    stretches: int  # between neighbouring looks, those over which the view changes completely
    unsearched: int  # parts that no frames were left for; they may hold cuts


class _Search:
    def __init__(self, read: Read, count: int, budget: int) -> None:
        self._read, self._count, self._budget = read, count, budget
        self._open: list[tuple[float, int, int]] = []  # a heap: likeness of the ends, first frame, last frame
        self.cuts: set[int] = set()

    def add(self, first: int, last: int, change: ViewChange) -> bool:
        """Take a stretch into the search if the view at its ends is another one; return whether it is."""
        if change.is_other_view:
            heapq.heappush(self._open, (change.alike, first, last))
        return change.is_other_view

    def run(self, seen: dict[int, np.ndarray]) -> int:
        """Search until nothing is open or the budget is spent; return how many stretches are left."""
        while self._open:
            _, first, last = self._open[0]
            wanted = self._wanted(first, last)
            if len(wanted) > self._budget:
                break
            self._budget -= len(wanted)
            heapq.heappop(self._open)
            if last - first <= _STRETCH:
                self._read_through(wanted)
            else:
                seen |= self._read(wanted)
                middle = wanted[0]
                self.add(first, middle, compare_views(seen[first], seen[middle]))
                self.add(middle, last, compare_views(seen[middle], seen[last]))
        return len(self._open)

    def _wanted(self, first: int, last: int) -> list[int]:
        if last - first > _STRETCH:
            return [(first + last) // 2]
        # Views are judged with the frames on either side.
        return list(range(max(0, first - 1), min(self._count, last + 2)))

    def _read_through(self, numbers: list[int]) -> None:
        frames = self._read(numbers)
        views = classify_views([frames[number] for number in numbers])
        self.cuts |= {numbers[k] for k in np.flatnonzero(views == VIEW_CUT).tolist()}


def find_cuts(
    looks: dict[int, np.ndarray], changes: list[ViewChange], count: int, read: Read, budget: int
) -> CutSearch:
    """Find cuts of a video of `count` frames between the frames `looks`, whose neighbours differ by `changes`.

    Stretches whose ends show different views are halved, those with the least alike ends first, until they are short
    enough to be read through. Over a cut the ends stay unlike; where the camera moves, they become alike. At most
    `budget` frames are read. A shot between two looks that show the same view is not noticed, and neither is a fade.
    """
    search, numbers = _Search(read, count, budget), sorted(looks)
    stretches = [search.add(first, last, change) for (first, last), change in zip(itertools.pairwise(numbers), changes)]
    unsearched = search.run(dict(looks))
    return CutSearch(tuple(sorted(search.cuts)), sum(stretches), unsearched)
