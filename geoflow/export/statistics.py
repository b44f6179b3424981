"""Mean, deviation and range of values that come in pieces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Moments:
    """Sums over rows of `width` values; each value that is not finite is left out.

    >>> moments = Moments(1)
    >>> moments.add(np.array([[1.0], [3.0], [np.nan]]))
    >>> moments.mean, moments.std, moments.count
    (array([2.]), array([1.]), array([2]))
    """

    width: int
    count: np.ndarray = field(init=False)  # (width,) int64
    mean: np.ndarray = field(init=False)  # (width,) float64; 0 where nothing was added
    low: np.ndarray = field(init=False)
    high: np.ndarray = field(init=False)
    _squares: np.ndarray = field(init=False)  # sums of squared distances from the mean

    def __post_init__(self) -> None:
        self.count = np.zeros(self.width, np.int64)
        self.mean, self._squares = np.zeros(self.width), np.zeros(self.width)
        self.low, self.high = np.full(self.width, np.inf), np.full(self.width, -np.inf)

    def add(self, rows: np.ndarray) -> None:
        """Add rows (..., width) of numbers."""
        rows = np.asarray(rows, np.float64).reshape(-1, self.width)
        known = np.isfinite(rows)
        count = known.sum(0)
        mean = np.where(known, rows, 0).sum(0) / np.maximum(count, 1)
        squares = np.where(known, (rows - mean) ** 2, 0).sum(0)
        self._combine(count, mean, squares)
        self.low = np.minimum(self.low, np.where(known, rows, np.inf).min(0, initial=np.inf))
        self.high = np.maximum(self.high, np.where(known, rows, -np.inf).max(0, initial=-np.inf))

    def merge(self, mean: np.ndarray, std: np.ndarray, count: int) -> None:
        """Add the statistics of `count` rows that were computed elsewhere."""
        self._combine(np.full(self.width, count), np.asarray(mean), np.asarray(std) ** 2 * count)

    def absorb(self, other: Moments) -> None:
        """Add the rows that `other` has counted."""
        self._combine(other.count, other.mean, other._squares)
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)

    def record(self) -> dict[str, list[float]]:
        """Return all sums as plain numbers; `recorded` reads them."""
        sums = {"count": self.count, "mean": self.mean, "low": self.low, "high": self.high, "squares": self._squares}
        return {name: array.tolist() for name, array in sums.items()}

    @classmethod
    def recorded(cls, sums: Mapping[str, list[float]]) -> Moments:
        """Return the moments of a record.

        >>> moments = Moments(1)
        >>> moments.add(np.array([1.0, 3.0]))
        >>> Moments.recorded(moments.record()).std
        array([1.])
        """
        found = cls(len(sums["count"]))
        found.count = np.array(sums["count"], np.int64)
        found.mean, found.low, found.high, found._squares = (
            np.array(sums[name], np.float64) for name in ("mean", "low", "high", "squares")
        )
        return found

    def _combine(self, count: np.ndarray, mean: np.ndarray, squares: np.ndarray) -> None:
        """Combine two sums: Chan, Golub and LeVeque (1979), equation 2.1."""
        both = self.count + count
        share = count / np.maximum(both, 1)
        step = mean - self.mean
        self._squares += squares + step**2 * self.count * share
        self.mean = self.mean + step * share
        self.count = both

    @property
    def std(self) -> np.ndarray:
        """Return the standard deviation, (width,) float64; 1 if nothing was added, since it is divided by."""
        return np.where(self.count > 0, np.sqrt(self._squares / np.maximum(self.count, 1)), 1.0)
