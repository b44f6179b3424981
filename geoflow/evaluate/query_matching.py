"""Which stored track answers a true query: the one made for it, else the nearest one in the query's frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.evaluate.prediction import StoredTracks

SAME_QUERY_PX = 0.5  # a track that starts this near was made for the query: float32 and other picture sizes differ less
_BLOCK = 512  # queries compared at a time with all tracks


@dataclass(frozen=True)
class QueryMatches:
    """The answers to N queries."""

    track: np.ndarray  # (N,) int64: column of the stored tracks, -1 if none answers
    by_query: np.ndarray  # (N,) bool: the track was made for this query


@dataclass(frozen=True)
class PixelGrid:
    """Takes pixels of the store or of the truth, centres at integers, to those in which distances are measured."""

    per_pixel: tuple[float, float]  # width and height of a pixel, in measuring pixels

    def measured(self, uv: np.ndarray) -> np.ndarray:
        """Move pixels (..., 2): (0, 0) becomes the corner of the picture."""
        return (np.asarray(uv, np.float64) + 0.5) * self.per_pixel


def match_queries(
    stored: StoredTracks, frame: np.ndarray, uv: np.ndarray, grid: PixelGrid, radius_px: float
) -> QueryMatches:
    """Match queries in frames (N,) of the store, -1 if it does not hold them, at uv (N, 2) measuring px, to tracks.

    A track whose own query is in the same frame, half a pixel away or less, was made for the query. Otherwise the
    nearest track that is visible in that frame answers, if it is within `radius_px`. A track may answer several
    queries.
    """
    track, by_query = np.full(len(frame), -1), np.zeros(len(frame), bool)
    start = stored.query[:, 0]
    for i in np.unique(frame[frame >= 0]):
        (asked,) = np.nonzero(frame == i)
        place, seen = stored.row(int(i))
        own = start == i
        (candidates,) = np.nonzero((seen | own) & np.isfinite(place).all(-1))
        if not len(candidates):
            continue
        there, own = grid.measured(place[candidates]), own[candidates]
        for low in range(0, len(asked), _BLOCK):
            block = asked[low : low + _BLOCK]
            distance = np.linalg.norm(uv[block, None] - there, axis=-1)
            made = np.where(own & (distance <= SAME_QUERY_PX), distance, np.inf)
            by_query[block] = np.isfinite(made).any(1)
            best = np.where(by_query[block], made.argmin(1), distance.argmin(1))
            reached = by_query[block] | (distance[np.arange(len(block)), best] <= radius_px)
            track[block] = np.where(reached, candidates[best], -1)
    return QueryMatches(track, by_query)
