"""Scores of 3D tracks. Points need no matching: a track's own first pixel gives its true point."""

from __future__ import annotations

import numpy as np

from geoflow.evaluate.correspondence import true_world_points
from geoflow.evaluate.measures import median
from geoflow.evaluate.prediction import StoredTracks
from geoflow.evaluate.scores import TrackScores
from geoflow.evaluate.truth import Truth
from geoflow.geometry.rigid import Sim3

_BLOCK = 256  # tracks read at a time; limits memory for long videos


def score_tracks(stored: StoredTracks, truth: Truth, world: Sim3 | None, scene_depth_m: float) -> TrackScores:
    """Score the tracks that start on static surfaces, over the frames in which they are marked visible.

    `world` takes the store's world to the true one. The true position of a static point never changes: so the truth's
    depth and pose at the query pixel give it for all frames. If these are unknown, a track counts as not static.
    Without `world` only the 2D error is known.
    """
    query, uv, xyz, visible = stored.query, stored.uv, stored.xyz, stored.visible
    start = query[:, 0].astype(int)
    target = np.full((len(query), 3), np.nan)
    static = np.zeros(len(query), bool)
    for i in np.unique(start):
        if not 0 <= i < len(truth.cam_from_world):
            continue
        (which,) = np.nonzero(start == i)
        target[which], static[which] = true_world_points(truth.frame(int(i)), np.asarray(uv[int(i)])[which])
    errors_3d, errors_2d, seen = [], [], []
    for low in range(0, len(query), _BLOCK):
        block = slice(low, min(low + _BLOCK, len(query)))
        keep = static[block]
        if not keep.any():
            continue
        shown = np.asarray(visible[:, block])[:, keep]
        seen.append(shown.sum(0))
        goal = target[block][keep]
        errors_2d.append(_pixel_errors(np.asarray(uv[:, block])[:, keep], shown, goal, truth))
        if world is not None:
            position = world.apply(np.asarray(xyz[:, block])[:, keep].astype(np.float64))
            errors_3d.append(np.linalg.norm(position - goal, axis=-1)[shown])
    error_3d, error_2d = (_finite(errors) for errors in (errors_3d, errors_2d))
    return TrackScores(
        tracks=int(static.sum()),
        visible_frames=float(np.concatenate(seen).mean()) if seen else float("nan"),
        error_percent=100 * median(error_3d) / scene_depth_m,
        error_m=median(error_3d) if truth.metric else float("nan"),
        uv_error_px=median(error_2d),
    )


def _finite(parts: list[np.ndarray]) -> np.ndarray:
    values = np.concatenate(parts) if parts else np.zeros(0)
    return values[np.isfinite(values)]


def _pixel_errors(uv: np.ndarray, shown: np.ndarray, goal: np.ndarray, truth: Truth) -> np.ndarray:
    """Return the distances in the image between visible tracks (T, M, 2) and the true points (M, 3): (K,) px."""
    errors = []
    for i in np.flatnonzero(shown.any(1) & truth.located):
        which = shown[i]
        pose, k = truth.cam_from_world[i], truth.intrinsics[i]
        pixel = (goal[which] @ pose[:3, :3].T + pose[:3, 3]) @ k.T
        with np.errstate(divide="ignore", invalid="ignore"):
            errors.append(np.linalg.norm(pixel[:, :2] / pixel[:, 2:] - uv[i, which], axis=1))
    return np.concatenate(errors) if errors else np.zeros(0)
