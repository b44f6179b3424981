"""Which places look alike: aggregated descriptors (VLAD, Jegou et al., CVPR 2010) with a vocabulary of the video's own.

Nothing is learned beforehand. A pair that looks alike is only a candidate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoflow.geometry.loops.places import SeenPlace

_WORDS = 32
_SAMPLE = 16_384  # descriptors of which the vocabulary is made
_ROUNDS = 8  # of k-means
_BLOCK = 256  # places compared at a time


def look_alikes(places: Sequence[SeenPlace], *, apart: int, most: int) -> list[tuple[int, int]]:
    """Return pairs (i, j) of places, i + apart <= j: for each j the `most` that look most like it, best first."""
    if len(places) <= apart:
        return []
    summary = _summaries(places)
    found = []
    for start in range(apart, len(places), _BLOCK):
        alike = summary[start : start + _BLOCK] @ summary.T
        for j, row in enumerate(alike, start):
            best = np.argsort(-row[: j - apart + 1], kind="stable")[:most]
            found += [(int(i), j) for i in best]
    return found


def _summaries(places: Sequence[SeenPlace]) -> np.ndarray:
    """Return a vector of unit length for each place, (P, _WORDS * 128) float32."""
    words = _vocabulary(places)
    found = np.zeros((len(places), len(words) * 128), np.float32)
    for p, place in enumerate(places):
        rows = place.descriptor.astype(np.float32) / 512
        nearest = (rows @ words.T - 0.5 * (words**2).sum(1)).argmax(1)
        sums = np.zeros_like(words)
        np.add.at(sums, nearest, rows - words[nearest])
        sums /= np.linalg.norm(sums, axis=1, keepdims=True) + 1e-6  # so that a repeated texture counts once
        found[p] = sums.ravel() / max(float(np.linalg.norm(sums)), 1e-6)
    return found


def _vocabulary(places: Sequence[SeenPlace]) -> np.ndarray:
    """Return (_WORDS, 128) float32, the centres of k-means from rows that are spread evenly over the walk."""
    each = max(1, _SAMPLE // len(places))
    picked = [place.descriptor[:: max(1, len(place.descriptor) // each)][:each] for place in places]
    rows = np.concatenate(picked).astype(np.float32) / 512
    words = rows[np.linspace(0, len(rows) - 1, _WORDS).round().astype(int)]
    for _ in range(_ROUNDS):
        nearest = (rows @ words.T - 0.5 * (words**2).sum(1)).argmax(1)
        count = np.bincount(nearest, minlength=_WORDS)
        sums = np.zeros_like(words)
        np.add.at(sums, nearest, rows)
        words = np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], words)
    return words
