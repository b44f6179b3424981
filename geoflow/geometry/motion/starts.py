"""Where incremental mapping starts: some views, a focal length, and which of two depth-reversed worlds.

A mapper that starts in the wrong world stays there: every later view is placed in it. So a few views are mapped from
several focal lengths; each result and its mirror image are adjusted to all followed points of these views, and the one
that leaves the smallest misfit is the start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from geoflow.geometry.depth.depth_order import rank_correlation
from geoflow.geometry.motion.bundle import FAR_OFF_PX, Bundle
from geoflow.geometry.motion.camera_motion import Chains

VIEWS = 10  # of a start
# In units of the longer side: fields of view of 28 to 103 degrees. Adjustment finds what lies between and beyond.
FOCALS = (0.85, 0.5, 1.4, 0.4, 2.0)
_OPPOSITE = 0.3  # rank correlation of depth below which two worlds are not the same one
_CLEARLY_WORSE = 0.05  # of misfit, relative: more than where adjustment happens to stop makes
_LEAST_POINTS = 25
_LEAST_TO_RANK = 10


@dataclass(frozen=True)
class MappingStart:
    """Some keyframes with cameras and points, and how much better these are than their mirror image."""

    bundle: Bundle
    lead: float  # relative; inf if there is no other world


def windows(chains: Chains, keys: list[int], count: int = 2) -> list[np.ndarray]:
    """Return up to `count` runs of VIEWS neighbouring keyframes (indices into `keys`) that show most relief.

    A run is rated by its points and by how far their motion from its first to its last third is from an affine one:
    planes, distant scenes and turning cameras tell little.
    """
    if len(keys) <= VIEWS + 2:
        return [np.arange(len(keys))]
    rated = []
    for first in range(0, len(keys) - VIEWS + 1, max(1, VIEWS // 3)):
        rated.append((_relief(chains, [keys[k] for k in range(first, first + VIEWS)]), first))
    chosen: list[int] = []
    for rate, first in sorted(rated, reverse=True):
        if rate > 0 and all(abs(first - other) >= VIEWS // 2 for other in chosen):
            chosen.append(first)
    return [np.arange(first, first + VIEWS) for first in chosen[:count]]


def _relief(chains: Chains, frames: list[int]) -> float:
    best = 0.0
    for a, b in ((0, -1), (0, len(frames) // 2), (len(frames) // 2, -1)):
        shared = chains.shared(frames[a], frames[b])
        if len(shared) < _LEAST_POINTS:
            continue
        uv_a, uv_b = (chains.uv[frames[k], shared].astype(float) for k in (a, b))
        rows = np.concatenate([uv_a, np.ones((len(shared), 1))], 1)
        off = np.linalg.norm(uv_b - rows @ np.linalg.lstsq(rows, uv_b, rcond=None)[0], axis=1)
        best = max(best, len(shared) * min(1.0, float(np.median(off)) / 3))
    return best


def both_worlds(bundle: Bundle, *, focal: bool) -> list[Bundle]:
    """Return a bundle and its mirror image, each adjusted until it settles."""
    starts = (bundle, bundle.mirrored().adjusted(focal=False, rounds=1))
    return [start.adjusted(focal=focal).adjusted(focal=focal) for start in starts]


def best_of(worlds: Iterable[Bundle]) -> MappingStart | None:
    """Return the world with the smallest misfit, all of the same views; None if there is none.

    Its lead is that over the best world with near and far exchanged, relative to its own misfit; inf if there is none.
    """
    settled = [(misfit, bundle) for bundle in worlds if np.isfinite(misfit := bundle.misfit())]
    if not settled:
        return None
    least, best = min(settled, key=lambda row: row[0])
    others = [misfit for misfit, bundle in settled if same_order(best, bundle) < _OPPOSITE]
    return MappingStart(best, (min(others) - least) / max(least, 1e-3) if others else np.inf)


def lead_over_mirror(bundle: Bundle, *, focal: bool) -> float:
    """Return by how much less misfit a bundle leaves than its mirror image, relative; both are adjusted first.

    Negative if the mirror image is better; 1 if adjustment turns it back, so that there is no other world. It is
    negative, too, if what it turns back to is clearly better: then the bundle is in a world that explains less.
    """
    own = bundle.adjusted(focal=focal)
    other = bundle.mirrored().adjusted(focal=False, rounds=1).adjusted(focal=focal).adjusted(focal=focal)
    if other.misfit() < own.misfit():
        own = own.adjusted(focal=focal)  # as often as the other
    lead = min(1.0, (other.misfit() - own.misfit()) / max(own.misfit(), 1e-3))
    return 1.0 if same_order(own, other) >= _OPPOSITE and lead > -_CLEARLY_WORSE else lead


def gain_of_free_lens(bundle: Bundle) -> float:
    """Return by how much less misfit a bundle leaves if its focal length is free, relative; both are adjusted first."""
    fixed, free = (bundle.adjusted(focal=focal).adjusted(focal=focal).misfit() for focal in (False, True))
    return (fixed - free) / max(free, 1e-3)


def same_order(a: Bundle, b: Bundle) -> float:
    """Return the rank correlation of the depths that two bundles of the same keyframes give: median over shared views.

    It is 0 if they share too little.
    """
    _, views_a, views_b = np.intersect1d(a.views, b.views, return_indices=True)
    _, points_a, points_b = np.intersect1d(a.points, b.points, return_indices=True)
    depth_a = _trusted_depth(a)[np.ix_(views_a, points_a)]
    depth_b = _trusted_depth(b)[np.ix_(views_b, points_b)]
    found = []
    for row_a, row_b in zip(depth_a, depth_b):
        use = np.isfinite(row_a) & np.isfinite(row_b)
        if use.sum() >= _LEAST_TO_RANK:
            found.append(rank_correlation(row_a[use], row_b[use]))
    return float(np.median(found)) if found else 0.0


def _trusted_depth(bundle: Bundle) -> np.ndarray:
    """Return depth (K, M) where an observation is explained, NaN elsewhere."""
    return np.where(bundle.errors() < FAR_OFF_PX, bundle.in_cameras()[..., 2], np.nan)
