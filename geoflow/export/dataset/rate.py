"""Frames at the rate of a dataset: which of a video's frames follow each other at that rate, and their time stamps."""

from __future__ import annotations

import numpy as np

from geoflow.errors import StoreError

TOLERANCE_S = 1e-4  # LeRobot's: by how much a step may differ from 1 / fps
_OFF = 0.6  # of a step: how far a frame may be from its place in an even series. A resampled video has half a step.
_RATE = 0.02  # relative: rates that differ by less are the same


def step_at(own: float, fps: float) -> int:
    """Return which every n-th frame of a video of rate `own` makes one of rate `fps`; 0 if there is no such n.

    >>> step_at(30.0, 10.0), step_at(29.97, 30.0), step_at(24.0, 10.0)
    (3, 1, 0)
    """
    step = max(1, round(own / fps))
    return step if abs(own / step / fps - 1) <= _RATE else 0


def even_runs(times: np.ndarray, fps: float) -> list[tuple[int, int]]:
    """Return the longest ranges [start, stop) of frames at times (T,) seconds that can be one episode at `fps`.

    In an episode, every step is 1 / fps within the tolerance, or every frame is nearest to its place in an even series.
    Where frames are missing, and where they drift away from the series, a new one begins.
    """
    found, start, exact = [], 0, True
    for k in range(1, len(times)):
        exact_now = exact and abs(times[k] - times[k - 1] - 1 / fps) <= TOLERANCE_S
        near = abs(times[k] - times[start] - (k - start) / fps) <= _OFF / fps
        if not (exact_now or near):
            found.append((start, k))
            start, exact_now = k, True
        exact = exact_now
    return [*found, (start, len(times))]


def stamps_of(times: np.ndarray, fps: float) -> np.ndarray:
    """Return the time stamps (T,) float64 s of an episode's frames, from 0: their own, or those of an even series.

    They are the frames' own times where each step is 1 / fps within the tolerance; such are all videos of a steady
    rate. Where they are not, as in a video that was resampled or whose container counts in milliseconds, they are
    k / fps. Raises StoreError if the frames are no such run.
    """
    own = np.asarray(times, np.float64) - times[0]
    if (np.abs(np.diff(own) - 1 / fps) <= TOLERANCE_S).all():
        return own
    even = np.arange(len(own)) / fps
    if np.abs(own - even).max() > _OFF / fps:
        raise StoreError(f"its frames are not {fps:g} a second")
    return even


def common_rate(rates: dict[float, int]) -> float:
    """Return the rate that most frames have, the higher one of two; `rates` are frames by rate.

    >>> common_rate({30.0: 200, 24.0: 100, 29.97: 50})
    30.0
    """
    shared = {rate: sum(n for other, n in rates.items() if abs(other / rate - 1) <= _RATE / 2) for rate in rates}
    return max(rates, key=lambda rate: (shared[rate], rates[rate], rate))
