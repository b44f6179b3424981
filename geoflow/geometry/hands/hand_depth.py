"""How far away a hand is, by the scene's depth under it.

From one view, a hand's size and its distance cannot be told apart: a hand twice as large and twice as far away looks
the same. What a network says of both rests on how large hands usually are. Scene depth decides: the hand is moved
along its rays, and grows or shrinks with its distance, so that its projection stays the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from geoflow.geometry.hands.hand_pose import depth_samples

_LEAST_SHARE = 0.25  # of a hand's samples that must have a depth
_LEAST_SAMPLES = 8
_MOST_SPREAD = 0.15  # relative, of the densest half of a frame's samples: they lie on one surface
_WINDOW = 7  # frames on both sides with which a frame is compared
_MOST_OFF = 0.15  # relative, from the frames about it: the depth is that of something else
_LIKELY = (0.6, 1.6)  # true size of a hand over its estimate; otherwise the depth is not the hand's
_LEAST_KNOWN = 0.25  # of a hand's frames


def depth_factor(
    joints: np.ndarray, uv: np.ndarray, depth: np.ndarray, scene_per_metre: float, depth_offset_m: float
) -> float:
    """Return the true distance of a hand over its estimate, in one frame; NaN if the depth does not tell.

    joints          (21, 3) camera frame, metres as estimated
    uv              (21, 2) px, where they are seen
    depth           (H, W) scene depth, 0 where unknown
    scene_per_metre units of the depth per metre
    depth_offset_m  distance of the joints behind the skin, which the depth shows

    The ratio is taken at samples along the palm and the lower finger bones, and is the median of the densest half of
    them. An occluder, a hole, or a background that shows through is left out as long as half of the samples are the
    hand's. NaN if too few samples have a depth, or if even the densest half lies on no common surface.
    """
    points, metres = depth_samples(uv, joints[:, 2])
    column, row = np.rint(points).astype(int).T
    inside = (column >= 0) & (column < depth.shape[1]) & (row >= 0) & (row < depth.shape[0])
    scene = depth[row[inside], column[inside]].astype(np.float64)
    known = np.isfinite(scene) & (scene > 0)
    if known.sum() < max(_LEAST_SAMPLES, _LEAST_SHARE * len(points)):
        return float("nan")
    ratios = np.sort((scene[known] / scene_per_metre + depth_offset_m) / metres[inside][known])
    half = len(ratios) // 2 + 1
    widths = ratios[half - 1 :] - ratios[: len(ratios) - half + 1]
    first = int(widths.argmin())
    middle = float(np.median(ratios[first : first + half]))
    return middle if widths[first] <= _MOST_SPREAD * middle else float("nan")


def steady_factors(factors: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Return the factors (N,) of one hand in all of its frames: those that fit the frames about them, and between them
    the straight line.

    factors (N,), NaN where unknown; frames (N,) increasing. All 1 if the depth is not the hand's: too few frames have
    one, or it says that the hand is of no possible size.
    """
    known = np.flatnonzero(np.isfinite(factors))
    kept = [
        i for i in known if abs(factors[i] - (middle := _median_about(factors, frames, known, i))) <= _MOST_OFF * middle
    ]
    if not kept or len(kept) < _LEAST_KNOWN * len(factors):
        return np.ones(len(factors))
    if not _LIKELY[0] <= float(np.median(factors[kept])) <= _LIKELY[1]:
        return np.ones(len(factors))
    return np.interp(frames, frames[kept], factors[kept])


def _median_about(factors: np.ndarray, frames: np.ndarray, known: np.ndarray, i: Any) -> float:
    near = known[np.abs(frames[known] - frames[i]) <= _WINDOW]
    return float(np.median(factors[near]))
