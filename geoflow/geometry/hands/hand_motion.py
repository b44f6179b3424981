"""A hand's motion: jumps that are too fast are dropped, short gaps are filled.

A hand's known size gives its place in metres: so speeds are in metres of a hand of average size, whatever the scene's
unit is. If the camera's poses are known, its own motion is subtracted.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoflow.geometry.rigid import apply, invert, skew

# How precisely a wrist is placed: smaller moves may be noise. Across the ray it is a share of a finger's width; along
# the ray it depends on how precisely a hand's size in the image gives its distance.
_ACROSS_M = 0.02
_ALONG = 0.15


@dataclass(frozen=True)
class HandLimits:
    """Options of a hand's motion; 0 turns each off."""

    max_velocity: float = 1.0  # m/s
    max_gap: int = 20  # frames
    depth_offset: float = 0.02  # m from the skin, which depth maps show, to the joints


NO_LIMITS = HandLimits(0, 0, 0)


def steady_frames(cam_from_world: np.ndarray | None, valid: np.ndarray | None) -> np.ndarray | None:
    """Return world_from_cam (T, 4, 4) float64, scene units; None unless every frame has a pose."""
    if cam_from_world is None or valid is None or not len(valid) or not valid.all():
        return None
    return invert(cam_from_world.astype(np.float64))


def in_unit(world_from_cam: np.ndarray | None, count: int, scene_per_unit: float | None) -> np.ndarray:
    """Return (T, 4, 4) with translations in another unit than the scene's.

    If the factor is unknown, only the rotations are kept.
    """
    if world_from_cam is None:
        return np.tile(np.eye(4), (count, 1, 1))
    frames = world_from_cam.copy()
    frames[:, :3, 3] *= 0.0 if scene_per_unit is None else 1 / scene_per_unit
    return frames


def slow_enough(
    wrists: np.ndarray,
    frames: np.ndarray,
    time_s: np.ndarray,
    weight: np.ndarray,
    world_from_cam: np.ndarray,
    limits: HandLimits,
) -> np.ndarray:
    """Choose which observations of one hand to keep: (N,) bool, the series of most weight whose steps are slow enough.

    wrists         (N, 3) camera frame, metres
    frames         (N,) frame of each, increasing
    time_s         (T,)
    weight         (N,) how much each counts
    world_from_cam (T, 4, 4), metres

    Two neighbouring observations in the series are no further apart than the limit allows in the time between them,
    plus the precision of their places. Over more than `max_gap` frames any distance is allowed. Found by dynamic
    programming; of equal series the one that ends earlier is taken.
    """
    count = len(wrists)
    if not limits.max_velocity or count < 2:
        return np.ones(count, bool)
    world = np.einsum("nij,nj->ni", world_from_cam[frames][:, :3, :3], wrists) + world_from_cam[frames][:, :3, 3]
    rays = world - world_from_cam[frames][:, :3, 3]
    best, before = weight.astype(np.float64).copy(), np.full(count, -1)
    for b in range(1, count):
        step = world[b] - world[:b]
        ray = rays[b] / np.linalg.norm(rays[b])
        along = step @ ray
        across = np.linalg.norm(step - along[:, None] * ray, axis=1)
        sure = np.hypot(np.maximum(across - _ACROSS_M, 0), np.maximum(np.abs(along) - _ALONG * wrists[b, 2], 0))
        fits = sure <= limits.max_velocity * (time_s[frames[b]] - time_s[frames[:b]]) + 1e-9
        fits |= frames[b] - frames[:b] > limits.max_gap + 1
        if fits.any():
            candidates = np.where(fits, best[:b], -np.inf)
            before[b] = int(candidates.argmax())
            best[b] += candidates[before[b]]
    kept = np.zeros(count, bool)
    at = int(best.argmax())
    while at >= 0:
        kept[at] = True
        at = int(before[at])
    return kept


def gaps(frames: Sequence[int], limits: HandLimits) -> list[tuple[int, int]]:
    """Pairs of neighbouring observations between which frames are missing, at most `max_gap` of them.

    >>> gaps([0, 1, 4, 30], HandLimits(max_gap=5))
    [(1, 4)]
    """
    return [(a, b) for a, b in itertools.pairwise(frames) if 1 < b - a <= limits.max_gap + 1]


def unbroken(frames: np.ndarray, max_gap: int) -> list[np.ndarray]:
    """Return the indices of observations in runs between which more than `max_gap` frames are missing.

    >>> [run.tolist() for run in unbroken(np.array([0, 1, 4, 30]), 5)]
    [[0, 1, 2], [3]]
    """
    if not len(frames):
        return []
    return np.split(np.arange(len(frames)), np.flatnonzero(np.diff(frames) > max_gap + 1) + 1)


def between(
    joints_a: np.ndarray, joints_b: np.ndarray, wrist_a: np.ndarray, wrist_b: np.ndarray, share: float
) -> np.ndarray:
    """Return the joints (21, 3) of a hand at `share` (0..1) of the way between two observations.

    The wrist moves on a straight line, its rotation by the shortest turn at constant speed (slerp, Shoemake 1985), and
    the fingers linearly in the wrist's frame. joints (21, 3) and wrists (4, 4) are in one frame that does not move.
    """
    local = (1 - share) * apply(invert(wrist_a), joints_a) + share * apply(invert(wrist_b), joints_b)
    pose = np.eye(4)
    pose[:3, :3] = wrist_a[:3, :3] @ _part_of(wrist_a[:3, :3].T @ wrist_b[:3, :3], share)
    pose[:3, 3] = (1 - share) * wrist_a[:3, 3] + share * wrist_b[:3, 3]
    return apply(pose, local)


def _part_of(rotation: np.ndarray, share: float) -> np.ndarray:
    """Return a share of a rotation (3, 3) about its own axis, by Rodrigues' formula; half a circle works, too."""
    off = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    angle = float(np.arctan2(np.linalg.norm(off) / 2, (np.trace(rotation) - 1) / 2))
    if angle < 1e-9:
        return np.eye(3)
    axis = np.linalg.eigh(rotation + rotation.T)[1][:, 2]  # the skew part vanishes near half a circle
    cross = skew(axis if axis @ off >= 0 else -axis)
    return np.eye(3) + np.sin(share * angle) * cross + (1 - np.cos(share * angle)) * cross @ cross
