"""The columns of quality: what is known of a range of frames, a segment or a whole video, as single numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from geoflow.quality.formula import used
from geoflow.quality.frame_facts import Facts

_MEAN, _MEDIAN, _SUM = "mean", "median", "sum"

# name -> (numpy dtype or "str", meaning, how frames become one number)
_COLUMNS: dict[str, tuple[str, str, str]] = {
    "quality": ("float32", "how far depth and poses can be believed, 0..1: mean of `quality/score`", _MEAN),
    "quality_from": ("str", "the ingredients of `quality` that were measured, with commas; others are unknown", ""),
    "coverage": ("float32", "share of the pixels with depth, mean", _MEAN),
    "depth_gap": ("float32", "relative difference from neighbours' depth of the same points, median", _MEDIAN),
    "photometric": ("float32", "correlation with neighbours' pictures at the same points, median", _MEDIAN),
    "flicker": ("float32", "relative change of depth as a whole from frame to frame, mean", _MEAN),
    "parallax": ("float32", "shift of points to neighbours beyond turning, in picture widths, median", _MEDIAN),
    "track_residual": ("float32", "px that tracked points lie from where neighbours place them, median", _MEDIAN),
    "posed": ("float32", "share of the frames with a full pose", _MEAN),
    "pose_quality": ("float32", "`camera/quality` of the frames with a pose, median", _MEDIAN),
    "focal_error": ("float32", "relative standard deviation of the focal length, median; unknown if given", _MEDIAN),
    "moving": ("float32", "share of the frames in which the camera moves, of those where this is known", _MEAN),
    "still": ("float32", "share in which it stands still", _MEAN),
    "rotating": ("float32", "share in which it only turns", _MEAN),
    "cuts": ("float32", "number of cuts", _SUM),
    "bare": ("float32", "share of the frames that are too bare to follow anything", _MEAN),
    "blur": ("float32", "0 sharp, 1 without detail; median", _MEDIAN),
    "brightness": ("float32", "brightness of the bright parts, 0..1; median", _MEDIAN),
    "overexposed": ("float32", "share of overexposed pixels, mean", _MEAN),
    "hands_visible": ("float32", "share of the frames with a hand; unknown if no stage looks for hands", _MEAN),
    "hand_jitter": ("float32", "jitter of the hands' joints in sizes of the hand, median", _MEDIAN),
}  # fmt: skip

QUALITY_COLUMNS = {name: (kind, meaning) for name, (kind, meaning, _) in _COLUMNS.items()}


class FrameQuality:
    """The facts of all frames of a video, and their columns for any range of its frames."""

    def __init__(self, facts: Facts, score: np.ndarray | None) -> None:
        """Without scores the quality is unknown, and so is what it is from."""
        self.facts, self._score = facts, score

    def columns(self, frames: slice) -> dict[str, Any]:
        """Return the columns of a range of frames: name -> number or text, NaN for what is unknown."""
        facts = {name: values[frames] for name, values in self.facts.items()}
        known = facts if self._score is None else facts | {"quality": self._score[frames].astype(np.float64)}
        found: dict[str, Any] = {name: _summed(known.get(name), how) for name, (_, _, how) in _COLUMNS.items() if how}
        found["quality_from"] = "" if np.isnan(found["quality"]) else ", ".join(used(facts))
        return {name: found[name] for name in _COLUMNS}


def as_nulls(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with None for each column of quality that is unknown, as Parquet tables have it."""
    return {
        name: None if name in QUALITY_COLUMNS and isinstance(value, float) and value != value else value
        for name, value in row.items()
    }


def _summed(values: np.ndarray | None, how: str) -> float:
    known = np.zeros(0) if values is None else values[np.isfinite(values)]
    if not len(known):
        return float("nan")
    if how == _SUM:
        return float(known.sum())
    return float(known.mean() if how == _MEAN else np.median(known))
