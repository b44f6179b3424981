"""SIFT matches between keyframes that are too far apart for tracking; they connect a structure where tracks break."""

from __future__ import annotations

import numpy as np

from geoflow.geometry.motion.picture_features import PictureFeatures

_MIN_MATCHES = 15
_GAPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)


def choose_pairs(count: int, budget: int = 60) -> list[tuple[int, int]]:
    """Choose pairs (a, b), a < b, of `count` pictures in order: neighbours, and fewer pairs the further apart they are.

    Another `budget` pairs are spread over all pictures, for places that are seen again.
    """
    stride = max(1, int(np.ceil(count / np.sqrt(2 * budget))))
    spread = range(0, count, stride)
    pairs = {(a, a + gap) for gap in _GAPS for a in range(count - gap)}
    return sorted(pairs | {(a, b) for a in spread for b in spread if a < b})


def wide_matches(
    features: PictureFeatures, frames: list[int]
) -> tuple[list[np.ndarray], dict[tuple[int, int], np.ndarray]]:
    """Return the features of some frames, uv (N, 2) px each, and row pairs (K, 2) per well matched pair (a, b).

    a < b count the given frames.
    """
    matches = {}
    for a, b in choose_pairs(len(frames)):
        fine = features.is_fine(frames[a]) and features.is_fine(frames[b])
        rows = (features.sure_matches if fine else features.matches)(frames[a], frames[b])
        if len(rows) >= _MIN_MATCHES:
            matches[a, b] = rows
    return [features.uv(t) for t in frames], matches
