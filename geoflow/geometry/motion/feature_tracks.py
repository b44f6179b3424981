"""Points that are found again by their features where pictures are too far apart for tracking: low frame rates, jumps.

A tracker expects small steps. Where it loses most points from one frame to the next, features of keyframes are matched
across the gap, verified by the epipolar geometry of each pair, and joined to tracks over several frames.
"""

from __future__ import annotations

import numpy as np

from geoflow.geometry.motion.picture_features import PictureFeatures

GAPS = (1, 2, 3, 4)  # keyframes; pairs further apart share few features, and these connect tracks no better
OFTEN = 1 / 3  # share of the steps that are wide in a video of a low frame rate; others recover from a few by tracking
_KEPT = 0.5  # share of the points that is followed over a step: below it, the step is too wide


def wide_steps(uv: np.ndarray) -> np.ndarray:
    """Return whether the tracker lost most points between frames t and t + 1, (T - 1,) bool; `uv` (T, M, 2) px."""
    return kept_shares(uv) < _KEPT


def kept_shares(uv: np.ndarray) -> np.ndarray:
    """Return the share of frame t's points that frame t + 1 still sees, (T - 1,); NaN if it has none; uv (T, M, 2)."""
    seen = np.isfinite(uv[..., 0])
    before, kept = seen[:-1].sum(1), (seen[1:] & seen[:-1]).sum(1)
    return np.where(before > 0, kept / np.maximum(before, 1), np.nan)


def feature_tracks(features: PictureFeatures, keyframes: list[int], wide: np.ndarray) -> np.ndarray:
    """Return points (T, M, 2) float32 px found again across wide steps, NaN where a point is not seen.

    `wide` (T - 1,) bool: the steps to bridge.
    """
    crossed = np.concatenate([[0], np.cumsum(wide)])
    pairs = [(a, b) for gap in GAPS for a, b in zip(keyframes, keyframes[gap:]) if crossed[a] < crossed[b]]
    features.refine({t for pair in pairs for t in pair})
    tracks = _Tracks()
    for a, b in pairs:  # neighbours first: their matches are the surest
        tracks.join(a, b, features.sure_matches(a, b))
    uv = np.full((len(wide) + 1, len(tracks.views), 2), np.nan, np.float32)
    for m, views in enumerate(tracks.views):
        for t, row in views.items():
            uv[t, m] = features.uv(t)[row]
    return uv


class _Tracks:
    """Features joined into tracks; one that would be in two places of a frame is not joined."""

    def __init__(self) -> None:
        self._all: list[dict[int, int]] = []  # per track: frame -> row of its feature
        self._track: dict[tuple[int, int], int] = {}  # frame, row -> its track

    @property
    def views(self) -> list[dict[int, int]]:
        return [views for views in self._all if len(views) > 1]

    def join(self, a: int, b: int, rows: np.ndarray) -> None:
        for row_a, row_b in rows.tolist():
            first, second = self._of(a, row_a), self._of(b, row_b)
            if first == second or self._all[first].keys() & self._all[second].keys():
                continue
            for view in self._all[second].items():
                self._track[view] = first
            self._all[first] |= self._all[second]
            self._all[second] = {}

    def _of(self, t: int, row: int) -> int:
        if (t, row) not in self._track:
            self._track[t, row] = len(self._all)
            self._all.append({t: row})
        return self._track[t, row]
