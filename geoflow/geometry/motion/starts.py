"""Where incremental mapping starts: some views, a focal length, and which of two depth-reversed worlds.

A mapper that starts in the wrong world stays there: every later view is placed in it. So a few views are mapped from
several focal lengths; each result and its mirror image are adjusted to all followed points of these views, and the one
that leaves the smallest misfit is the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from geoflow.geometry.motion.bundle import FAR_OFF_PX, Bundle, misfit_of
from geoflow.geometry.motion.camera_motion import Chains

VIEWS = 10  # of a start
# In units of the longer side: fields of view of 28 to 103 degrees. Adjustment finds what lies between and beyond.
FOCALS = (0.85, 0.5, 1.4, 0.4, 2.0)
LEAD = 0.03  # of misfit, by which a world must be better than its mirror image
_OPPOSITE = 0.3  # rank correlation of depth below which two worlds are not the same one
_LEAST_POINTS = 25


@dataclass(frozen=True)
class Start:
    """Views (indices of keyframes) with cameras and points, and how much better they are than their mirror image."""

    views: np.ndarray  # (K,) indices into the keyframes
    points: np.ndarray  # (M,) indices of chained points, the bundle's
    bundle: Bundle
    lead: float  # relative; inf if there is no other world

    @property
    def certain(self) -> bool:
        """Whether near and far are told apart."""
        return self.lead > LEAD


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


def best_of(candidates: Iterable[Bundle], *, focal: bool) -> tuple[Bundle, float] | None:
    """Return the bundle with the smallest misfit among candidates for the same views, and their mirror images.

    The second value is its lead over the best bundle with near and far exchanged, relative to its own misfit; inf if
    no mirror image stays one. None if there is no candidate.
    """
    settled: list[tuple[float, Bundle]] = []
    for bundle in candidates:
        for start in (bundle, bundle.mirrored().adjusted(focal=False, rounds=1)):
            done = start.adjusted(focal=focal)
            done = done.adjusted(focal=focal)
            settled.append((done.misfit(), done))
    settled = [(misfit, bundle) for misfit, bundle in settled if np.isfinite(misfit)]
    if not settled:
        return None
    least, best = min(settled, key=lambda row: row[0])
    others = [misfit for misfit, bundle in settled if same_order(best, bundle) < _OPPOSITE]
    return best, (min(others) - least) / max(least, 1e-3) if others else np.inf


def same_order(a: Bundle, b: Bundle) -> float:
    """Return the rank correlation of the depths of two bundles of the same views: median over the views."""
    from scipy.stats import spearmanr

    depth_a, depth_b = a.in_cameras()[..., 2], b.in_cameras()[..., 2]
    fits = (a.errors() < FAR_OFF_PX) | (b.errors() < FAR_OFF_PX)
    found = []
    for k in range(len(a.uv)):
        use = a.seen[k] & fits[k] & np.isfinite(depth_a[k]) & np.isfinite(depth_b[k])
        if use.sum() >= 10:
            found.append(float(spearmanr(depth_a[k, use], depth_b[k, use]).statistic))
    return float(np.nanmedian(found)) if found else 0.0
