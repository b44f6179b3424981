"""Times of frames from their time stamps: true stamps are kept, other frames are put between them."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

NO_STAMP = int(np.iinfo(np.int64).min)
_CLOCK_BITS = (33, 32, 31, 24)  # clocks of MPEG (33), RTP and FLV (32, 31, 24) start again at 0 after so many bits
_FEW_STEPS = 100.0  # usual steps: the most that a clock goes on where it wraps
_LEAST_SHARE = 0.2  # of the stamps must be in rising order; fewer could be by chance
_MOST_REORDER = 16  # frames that a decoder may hold back (H.264, level limits)


def frame_times(stamps: np.ndarray, base: float, rate: float) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return seconds since the first frame, (F,) float64, strictly rising, and remarks on what was mended.

    `stamps` (F,) int64 belong to the frames in display order, in units of `base` seconds; NO_STAMP if a frame has none.
    A stamp counts as true if it fits a strictly rising order with as many others as possible; other frames get a time
    between their true neighbours. If hardly any stamp can be true, frames are counted at `rate` per second.

    >>> frame_times(np.array([0, 40, 40, 120]), 0.001, 25.0)[0].round(3).tolist()
    [0.0, 0.04, 0.08, 0.12]
    """
    count = len(stamps)
    present = stamps != NO_STAMP
    if not present.any():
        return _counted(count, rate, "The file carries no time stamps")
    values, said = stamps.astype(np.float64), []
    values[~present] = np.nan
    given = np.flatnonzero(present)
    clock, remark = _continued(values[given], given)
    said += [remark] if remark else []
    kept = _longest_rise(clock)
    distinct = len(np.unique(clock))
    if len(kept) < 2 <= count or len(kept) < _LEAST_SHARE * len(clock) or 2 * len(kept) < distinct:
        return _counted(count, rate, "The file's time stamps are of no use (repeated, or in no order)")
    if distinct == len(clock) and _only_reordered(clock):
        clock, kept = np.sort(clock), np.arange(len(clock))
        said.append("The time stamps were in storage order; they are sorted into display order.")
    at, seconds = given[kept], (clock[kept] - clock[kept[0]]) * base
    if len(at) < count:
        said.append(_mended(count, at, present))
    time = _between(np.arange(count), at, seconds)
    return time - time[0], tuple(said)


def _counted(count: int, rate: float, why: str) -> tuple[np.ndarray, tuple[str, ...]]:
    remark = f"{why}: times are not measured, but counted at {rate:.6g} frames per second."
    return np.arange(count, dtype=np.float64) / rate, (remark,)


def _mended(count: int, at: np.ndarray, present: np.ndarray) -> str:
    """Return the remark on frames whose time is interpolated."""
    bad = np.setdiff1d(np.arange(count), at)
    missing = int((~present).sum())
    kinds = [f"{missing} missing"] if missing else []
    kinds += [f"{len(bad) - missing} repeated or out of order"] if len(bad) > missing else []
    which = f"of frame {bad[0]}" if len(bad) == 1 else f"of {len(bad)} frames (the first is frame {bad[0]})"
    return (
        f"The time {which} of the {count} in the file is put between those of its neighbours: their time stamps are of "
        f"no use ({', '.join(kinds)})."
    )


def _between(numbers: np.ndarray, at: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Return the times of frames `numbers` from those known, `at` some frames; beyond these at the usual step."""
    step = float(np.median(np.diff(seconds) / np.diff(at))) if len(at) > 1 else 0.0
    time = np.interp(numbers, at, seconds)
    before, after = numbers < at[0], numbers > at[-1]
    time[before] = seconds[0] + (numbers[before] - at[0]) * step
    time[after] = seconds[-1] + (numbers[after] - at[-1]) * step
    return time


def _continued(clock: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the stamps of frames `at`, joined where the clock wrapped or restarted, and a remark on it."""
    change = np.diff(clock)
    rises = change[change > 0]
    drops = np.flatnonzero(change < 0) + 1
    if not len(rises) or not len(drops):
        return clock, ""
    step, out, wrapped, restarted = float(np.median(rises)), clock.copy(), [], []
    for k in drops.tolist():
        on = _wrapped_step(clock[k] - clock[k - 1], step)
        if on is not None:
            wrapped.append(k)
        elif _begins_anew(clock, k):
            on = step * (at[k] - at[k - 1])
            restarted.append(k)
        else:
            continue
        out[k:] += out[k - 1] + on - out[k]
    said = []
    if wrapped:
        said.append(f"wraps at frame {at[wrapped[0]]}")
    if restarted:
        more = f" and {len(restarted) - 1} more times" if len(restarted) > 1 else ""
        said.append(f"starts again at frame {at[restarted[0]]}{more}, where one usual step between frames is assumed")
    return out, f"The clock of the file's time stamps {' and '.join(said)}; times go on from there." if said else ""


def _wrapped_step(drop: float, step: float) -> float | None:
    """Return how far the clock really went on, if this drop is a wrap; else None."""
    on = {bits: drop + 2.0**bits for bits in _CLOCK_BITS}
    return next((value for bits, value in on.items() if 0 < value <= min(_FEW_STEPS * step, 2.0 ** (bits - 6))), None)


def _begins_anew(clock: np.ndarray, k: int) -> bool:
    """Return whether the stamps from `k` on lie below the few before it, and rise: no single stray stamp."""
    before, after = clock[max(0, k - 3) : k], clock[k : k + 3]
    return len(after) > 1 and len(before) > 1 and after.max() < before.min() and bool((np.diff(after) > 0).all())


def _only_reordered(clock: np.ndarray) -> bool:
    """Return whether stamps go back every few frames, and each is near its place, as reordering leaves it."""
    moved = np.abs(np.argsort(np.argsort(clock)) - np.arange(len(clock)))
    return bool(moved.max() <= _MOST_REORDER and (np.diff(clock) < 0).mean() > _LEAST_SHARE and len(clock) > 8)


def _longest_rise(values: np.ndarray) -> np.ndarray:
    """Return the places of the longest strictly rising subsequence; of equal values the first is taken.

    >>> _longest_rise(np.array([0.0, 1.0, 9.0, 2.0, 2.0, 3.0])).tolist()
    [0, 1, 3, 5]
    """
    tails: list[float] = []
    ends: list[int] = []
    before = np.full(len(values), -1)
    for place, value in enumerate(values.tolist()):
        length = bisect_left(tails, value)
        if length < len(tails) and tails[length] == value:
            continue
        before[place] = ends[length - 1] if length else -1
        tails[length : length + 1], ends[length : length + 1] = [value], [place]
    rise, place = [], ends[-1]
    while place >= 0:
        rise.append(place)
        place = int(before[place])
    return np.array(rise[::-1])
