"""Scores of 3D tracks. Points need no matching: a track's own first pixel gives its true point."""

from __future__ import annotations

import numpy as np

from geoflow.evaluate.correspondence import true_world_points
from geoflow.evaluate.measures import median
from geoflow.evaluate.prediction import StoredTracks
from geoflow.evaluate.scores import TrackScores
from geoflow.evaluate.truth import Truth
from geoflow.geometry.rigid import Sim3

_SAME_SURFACE = 0.02  # relative difference of depth: the nearest pixel of a slanted surface has another one
_ON_POINT = 0.02  # of the picture's width: a track further away has left its point
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
    lasting = _seen_to_the_end(truth, start, target)
    kept = np.zeros(len(query), bool)
    errors_3d, errors_2d, seen = [], [], []
    for low in range(0, len(query), _BLOCK):
        block = slice(low, min(low + _BLOCK, len(query)))
        keep = static[block]
        if not keep.any():
            continue
        shown = np.asarray(visible[:, block])[:, keep]
        seen.append(shown.sum(0))
        goal = target[block][keep]
        off = _pixel_errors(np.asarray(uv[:, block])[:, keep], shown, goal, truth)
        errors_2d.append(off[np.isfinite(off)])
        kept[low + np.flatnonzero(keep)] = (off[-_last_frames(len(off)) :] < _ON_POINT * truth.size[1]).any(0)
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
        lasting=int(lasting.sum()),
        lasting_kept=float(kept[lasting].mean()) if lasting.any() else float("nan"),
    )


def _last_frames(count: int) -> int:
    return max(1, count // 20)


def _seen_to_the_end(truth: Truth, start: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return which points (N, 3), NaN where unknown, the camera sees in every frame from `start` (N,) on: (N,) bool.

    A frame sees a point if its depth at the nearest pixel is the point's own, up to the step of a slanted surface.
    False in a video with frames of unknown pose, and for points that begin in the last frames.
    """
    count = len(truth.cam_from_world)
    seen = np.isfinite(target).all(1) & (start < count - _last_frames(count))
    if not truth.located.all():
        return np.zeros(len(target), bool)
    height, width = truth.size
    for i in range(count):
        mine = np.flatnonzero(seen & (start <= i))
        if not len(mine):
            continue
        pixel, z = _projected(target[mine], truth, i)
        inside = (z > 0) & (pixel >= 0).all(1) & (pixel[:, 0] <= width - 1) & (pixel[:, 1] <= height - 1)
        u, v = np.rint(np.where(inside[:, None], pixel, 0)).astype(int).T
        seen[mine] = inside & (np.abs(truth.frame(i).depth[v, u] - z) < _SAME_SURFACE * z)
    return seen


def _projected(points: np.ndarray, truth: Truth, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (N, 2) and depth (N,) of world points (N, 3) in the true camera of a frame."""
    pose = truth.cam_from_world[i]
    pixel = (points @ pose[:3, :3].T + pose[:3, 3]) @ truth.intrinsics[i].T
    with np.errstate(divide="ignore", invalid="ignore"):
        return pixel[:, :2] / pixel[:, 2:], pixel[:, 2]


def _finite(parts: list[np.ndarray]) -> np.ndarray:
    values = np.concatenate(parts) if parts else np.zeros(0)
    return values[np.isfinite(values)]


def _pixel_errors(uv: np.ndarray, shown: np.ndarray, goal: np.ndarray, truth: Truth) -> np.ndarray:
    """Return the distances in the image between visible tracks (T, M, 2) and the true points (M, 3): (T, M) px, else
    NaN."""
    errors = np.full(shown.shape, np.nan)
    for i in np.flatnonzero(shown.any(1) & truth.located):
        errors[i] = np.linalg.norm(_projected(goal, truth, int(i))[0] - uv[i], axis=1)
    return np.where(shown, errors, np.nan)
