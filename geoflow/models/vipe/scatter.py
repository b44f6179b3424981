"""Sums over rows that share an index, in the same order on every run."""

from __future__ import annotations

from torch import Tensor


def sum_rows(values: Tensor, index: Tensor, count: int) -> Tensor:
    """Return (count, ...): row k is the sum of the rows of values (E, ...) whose index (E,) is k.

    On a GPU `index_add` adds in the order in which threads arrive; `index_put` sorts first.
    """
    made = values.new_zeros(count, *values.shape[1:])
    if values.device.type == "cpu":
        return made.index_add_(0, index, values)
    return made.index_put_((index,), values, accumulate=True)


def mean_rows(values: Tensor, index: Tensor, count: int) -> Tensor:
    """Return (count, ...): row k is the mean of the rows of values (E, ...) whose index (E,) is k."""
    shares = sum_rows(values.new_ones(len(values)), index, count).clamp(min=1)
    return sum_rows(values, index, count) / shares.reshape(-1, *(1,) * (values.ndim - 1))
