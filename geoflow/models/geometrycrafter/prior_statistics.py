"""What is known of a whole video's prior: its scale and its range of disparity, whichever framework surveys it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.errors import InputError

MIN_DEPTH = 1e-3  # of the video's mean; nearer points count as at this depth
_MIN_SCALE = 1e-3
_QUANTILE = 0.99


@dataclass(frozen=True)
class PriorStatistics:
    """Statistics of all frames of one video."""

    scale: float  # mean z of the valid pixels
    low: float  # range of the disparity, 1 / (z / scale)
    high: float


def disparity_ranks(pixels: int) -> tuple[int, int]:
    """Ranks, from 0, of the 1 % and the 99 % quantile among a frame's disparities: the nearest, in float32.

    >>> disparity_ranks(1536)
    (15, 1520)
    """
    low, high = (int(np.rint(np.float32(q) * np.float32(pixels - 1))) for q in (1 - _QUANTILE, _QUANTILE))
    return low, high


def statistics_of(rows: np.ndarray, pixels_per_frame: int) -> PriorStatistics:
    """Return the statistics of all frames from a row of each, (T, 5) float64.

    A row holds the sum of z over valid pixels, their number, z at both ranks of the disparity, and the number of valid
    pixels that are no points. Raises InputError when there are any.
    """
    if (wrong := rows[:, 4]).any():
        frame = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"the prior of frame {frame} has {int(wrong[frame])} valid pixels whose points are not finite or not "
            "in front of the camera; take them out of the mask"
        )
    pixels = pixels_per_frame * len(rows)
    mean_z, mean_mask = rows[:, 0].sum() / pixels, rows[:, 1].sum() / pixels
    scale = np.float32(max(mean_z / (mean_mask + 1e-8), _MIN_SCALE))
    disparity = 1 / np.maximum(rows[:, 2:4].astype(np.float32) / scale, np.float32(MIN_DEPTH))
    return PriorStatistics(float(scale), float(disparity[:, 0].min()), float(disparity[:, 1].max()))
