"""Checks that the values of a float field are as its row of the field table promises."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from geoflow.values.field import NAN, NEVER, ZERO, Field

_Fault = tuple[str, np.ndarray, np.ndarray]  # expected, checked values, where they are wrong

_BLOCK = 1 << 19  # values checked together: their temporaries stay in the processor's cache
_HALF_EXPONENT, _HALF_SIGN = 0x7C00, -0x8000  # bits of float16: all of an infinity's or a NaN's; of -0.0


def value_fault(row: Field, array: np.ndarray, holds: np.ndarray | None) -> str:
    """Return what is wrong with the values of a float field, "" if nothing is wrong.

    `holds` says where values are known, for as many of the array's first axes as it has; None if nothing says so.
    """
    for part in _blocks(array):
        values, known = array[part], None if holds is None else holds[part]
        fault = _not_finite(row, values, known) or (_not_ahead(row, values, known) if row.depth else None)
        if fault is not None:
            expected, looked_at, wrong = fault
            i = int(np.flatnonzero(wrong.reshape(len(wrong), -1).any(1))[0])
            told = row.invalid not in (NEVER, ZERO) and row.holds and known is not None
            where = f" where {row.holds} is True" if told else ""
            return f"should be {expected}{where}, found {_seen(looked_at[i][wrong[i]])} in row {part.start + i}"
    return ""


def _blocks(array: np.ndarray) -> Iterator[slice]:
    rows = max(1, _BLOCK * len(array) // max(array.size, 1)) if array.size else 1
    return (slice(start, start + rows) for start in range(0, len(array) if array.size else 0, rows))


def _not_finite(row: Field, values: np.ndarray, known: np.ndarray | None) -> _Fault | None:
    """Return the values that should be finite and are not."""
    if values.dtype == np.float16:  # numpy's own test of float16 takes several times as long
        odd = (values.view(np.int16) & _HALF_EXPONENT) == _HALF_EXPONENT
    else:
        odd = ~np.isfinite(values)
    if not odd.any():
        return None
    if row.invalid in (NEVER, ZERO):
        return "finite", values, odd
    if row.invalid == NAN and (infinite := odd & ~np.isnan(values)).any():
        return "finite or NaN", values, infinite
    if known is None:
        return None
    parts = odd.reshape(*known.shape, -1)
    few = parts.shape[-1] <= 4  # numpy is slow to reduce an axis that short
    wrong = known & (functools.reduce(np.logical_or, np.moveaxis(parts, -1, 0)) if few else parts.any(-1))
    return ("finite", values, wrong) if wrong.any() else None


def _not_ahead(row: Field, values: np.ndarray, known: np.ndarray | None) -> _Fault | None:
    """Return the depths that should be above 0 and are not. Unknown depths are 0 if no mask marks them."""
    z = values if row.invalid == ZERO else values[..., -1]
    bits = z.view(np.int16) if z.dtype == np.float16 else z  # they sort alike, and integers are compared faster
    if row.invalid == ZERO:
        wrong = (bits < 0) & (bits != _HALF_SIGN)
        return ("a depth of 0 or more", z, wrong) if wrong.any() else None
    if known is None:
        return None
    wrong = (bits <= 0) & known
    return ("a depth above 0", z, wrong) if wrong.any() else None


def _seen(values: np.ndarray) -> str:
    """Describe wrong values in a few words: what they are, and how many."""
    values = values.reshape(-1)
    if np.isinf(values).any():
        limit = f" (float16 ends at {np.finfo(np.float16).max:.0f})" if values.dtype == np.float16 else ""
        return f"{np.count_nonzero(np.isinf(values))} infinite values{limit}"
    if np.isnan(values).any():
        return f"{np.count_nonzero(np.isnan(values))} that are NaN"
    return f"{values.min():.4g} and {len(values) - 1} more such" if len(values) > 1 else f"{values[0]:.4g}"
