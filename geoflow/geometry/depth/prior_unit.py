"""The unit of the prior, given to a path and its depth: one factor for all frames, from many frames with a prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geoflow.fields import UNIT_PRIOR, UNIT_TOO_FEW, UNIT_UNSTEADY

_LEAST_PIXELS = 50  # of a frame, that both know
_LEAST_FRAMES = 3
_LEAST_SHARE = 0.3  # of the frames with depth
_MOST_ERROR = 0.15  # standard deviation of the factor's logarithm
_DEVIATION = 1.4826  # a normal distribution's, in parts of its median absolute deviation
_OF_MEDIAN = 1.2533  # error of a median over that of a mean
_CODES = {"": UNIT_PRIOR, "no prior": UNIT_TOO_FEW, "unsteady": UNIT_UNSTEADY}


@dataclass(frozen=True)
class PriorUnit:
    """What brings lengths to the prior's unit; `factor` is 1, and `reason` says why, if nothing can.

    `spread` is how much frames differ, and `error` the standard deviation of the factor; both of the logarithm.
    """

    factor: float
    spread: float
    error: float
    frames: int  # that have a say
    reason: str = ""  # "", "no prior" or "unsteady"

    @property
    def code(self) -> int:
        """The value of `camera.unit`."""
        return _CODES[self.reason]


def unit_of_prior(depth: np.ndarray, frames: np.ndarray, prior: Callable[[int], np.ndarray | None]) -> PriorUnit:
    """Return the unit of a prior, from depth (K, h, w) of some frames, 0 where unknown.

    frames (K,) are the frames' numbers; `prior` gives the disparity (h, w) of one, 0 where unknown, or None. They
    should lie apart, as keyframes do: neighbours err alike, and would make the factor look surer than it is. A frame's
    ratio is its pixels' median, and the factor the median of these: a prior is often wrong by the same factor
    throughout a frame, and rarely in most frames.
    """
    ratios, asked = [], 0
    for one, frame in zip(depth, frames):
        if (one > 0).sum() < _LEAST_PIXELS:
            continue
        asked += 1
        said = prior(int(frame))
        if said is None or (both := (one > 0) & (said > 0)).sum() < _LEAST_PIXELS:
            continue
        ratios.append(-float(np.median(np.log(one[both].astype(np.float64) * said[both]))))
    if len(ratios) < max(_LEAST_FRAMES, _LEAST_SHARE * asked):
        return PriorUnit(1.0, 0.0, 0.0, len(ratios), "no prior")
    logs = np.array(ratios)
    middle = float(np.median(logs))
    spread = _DEVIATION * float(np.median(np.abs(logs - middle)))
    error = _OF_MEDIAN * spread / np.sqrt(len(logs))
    if error > _MOST_ERROR:
        return PriorUnit(1.0, spread, error, len(logs), "unsteady")
    return PriorUnit(float(np.exp(middle)), spread, error, len(logs))
