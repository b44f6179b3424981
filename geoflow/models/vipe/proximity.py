"""Which pairs of keyframes become edges: neighbours, and pairs that look at the same place."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

Pair = tuple[int, int]


def neighbours(start: int, stop: int, radius: int) -> list[Pair]:
    """Return all pairs of keyframes in [start, stop) that are at most `radius` apart, both directions."""
    numbers = range(start, stop)
    return [(i, j) for i in numbers for j in numbers if 1 <= abs(i - j) <= radius]


class Proximity:
    """Pairs (i, j) of t0 <= i < t and t1 <= j < t by their distance; chosen pairs blank those around them."""

    def __init__(self, t0: int, t1: int, t: int, radius: int, suppression: int) -> None:
        self.t0, self.t1, self.t = t0, t1, t
        self.radius, self.suppression = radius, suppression

    def candidates(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the pairs (i, j) whose distances are asked for, row major."""
        i, j = np.meshgrid(np.arange(self.t0, self.t), np.arange(self.t1, self.t), indexing="ij")
        wanted = j <= i - self.radius
        return i[wanted], j[wanted]

    def choose(self, distances: np.ndarray, known: Iterable[Pair], limit: float, most: int) -> list[Pair]:
        """Return the pairs that become edges, both directions: those of `radius` + 1 or less, then the nearest.

        `distances` are those of `candidates`. Pairs farther than `limit` are not chosen, nor any once there are more
        than `most`. `known` edges blank the distances around them.
        """
        table = np.full((max(self.t - self.t0, 0), max(self.t - self.t1, 0)), np.inf)
        rows, columns = self.candidates()
        table[rows - self.t0, columns - self.t1] = np.where(distances > limit, np.inf, distances)
        for pair in known:
            self._blank_around(table, *pair)
        chosen: list[Pair] = []
        for i in range(self.t0, self.t):
            for j in range(max(i - self.radius - 1, 0), i):
                chosen += [(i, j), (j, i)]
                self._blank(table, i, j)
        for place in np.argsort(table, axis=None, kind="stable"):
            if not table.flat[place] <= limit:
                continue
            if len(chosen) > most:
                break
            row, column = divmod(int(place), table.shape[1])
            i, j = self.t0 + row, self.t1 + column
            chosen += [(i, j), (j, i)]
            self._blank_around(table, i, j)
        return chosen

    def _blank(self, table: np.ndarray, i: int, j: int) -> None:
        if self.t0 <= i < self.t and self.t1 <= j < self.t:
            table[i - self.t0, j - self.t1] = np.inf

    def _blank_around(self, table: np.ndarray, i: int, j: int) -> None:
        reach = max(min(abs(i - j) - 2, self.suppression), 0)
        for di in range(-reach, reach + 1):
            for dj in range(abs(di) - reach, reach - abs(di) + 1):
                self._blank(table, i + di, j + dj)
