"""What is known of each frame of a video that tells of its quality: numbers of the field table, by shorter names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from geoflow.fields import MOTION_MOVING, MOTION_ROTATING, MOTION_STILL, MOTION_UNKNOWN, VIEW_BARE, VIEW_CUT

Get = Callable[[str], np.ndarray | None]  # a field's name -> its array, None if there is none
Facts = dict[str, np.ndarray]  # name -> (T,) float, NaN where unknown

GROUP = "quality."
SCORE = GROUP + "score"
# Facts that are fields of their own, and the field within which a number counts.
FACTS = {
    "coverage": ("quality.coverage", ""),
    "depth_gap": ("quality.depth_gap", ""),
    "photometric": ("quality.photometric", ""),
    "flicker": ("quality.flicker", ""),
    "parallax": ("quality.parallax", ""),
    "track_residual": ("quality.track_residual", ""),
    "pose_quality": ("camera.quality", "camera.valid"),
    "focal_error": ("camera.focal_error", "camera.valid"),
    "blur": ("frames.blur", ""),
    "brightness": ("frames.brightness", ""),
    "overexposed": ("frames.overexposed", ""),
    "hand_jitter": ("quality.hand_jitter", ""),
    "posed": ("camera.valid", ""),
}
_MOTIONS = {"moving": MOTION_MOVING, "still": MOTION_STILL, "rotating": MOTION_ROTATING}
_VIEWS = {"cuts": VIEW_CUT, "bare": VIEW_BARE}
HANDS = tuple(f"hands.{group}.valid" for group in ("left", "right", "all"))


def seams_of(starts: np.ndarray, residuals: np.ndarray, count: int) -> np.ndarray:
    """Return for each of `count` frames the larger residual of the seams at both ends of its segment; NaN without one.

    >>> seams_of(np.array([0, 2]), np.array([np.nan, 0.1]), 3).tolist()
    [0.1, 0.1, 0.1]
    """
    before = np.asarray(residuals, np.float64)
    both = np.fmax(before, np.append(before[1:], np.nan))
    return np.repeat(both, np.diff([*starts, count]))


def facts_of(get: Get, seams: np.ndarray | None = None) -> Facts:
    """Return the facts of T frames that there are, (T,) float64 each; `seams` are those of `seams_of`."""
    found: Facts = {} if seams is None else {"seam_residual": seams}
    for name, (field, within) in FACTS.items():
        values = get(field)
        if values is None:
            continue
        values = values.astype(np.float64)
        if within:
            where = get(within)
            values = np.where(where, values, np.nan) if where is not None else values
        found[name] = values
    if (motion := get("camera.motion")) is not None:
        told = motion != MOTION_UNKNOWN
        found |= {name: np.where(told, motion == code, np.nan) for name, code in _MOTIONS.items()}
    if (views := get("frames.view")) is not None:
        found |= {name: (views == code).astype(np.float64) for name, code in _VIEWS.items()}
    hands = [valid.reshape(len(valid), -1).any(1) for name in HANDS if (valid := get(name)) is not None]
    if hands:
        found["hands_visible"] = np.logical_or.reduce(hands).astype(np.float64)
    return found
