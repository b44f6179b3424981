"""Rates with the interval in which they lie with 95 % confidence."""

from __future__ import annotations

from dataclasses import dataclass

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Rate:
    """A share of trials, with its Clopper-Pearson interval (1934)."""

    count: int
    of: int
    low: float
    high: float

    def __str__(self) -> str:
        if not self.of:
            return "-"
        return (
            f"{self.count}/{self.of} = {100 * self.count / self.of:.1f} % [{100 * self.low:.2f}, {100 * self.high:.2f}]"
        )


def rate_of(count: int, of: int) -> Rate:
    """Return the rate of `count` events in `of` trials; without a trial, everything from 0 to 1 is possible.

    >>> rate_of(0, 100).high < 0.037
    True
    """
    from scipy.stats import binomtest

    if not of:
        return Rate(0, 0, 0.0, 1.0)
    interval = binomtest(count, of).proportion_ci(_CONFIDENCE, method="exact")
    return Rate(count, of, float(interval.low), float(interval.high))
