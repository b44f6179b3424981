"""Lift tracks of hands into the camera frame: each hand's arrays through a segment, with its gaps filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from geoflow.geometry.cameras import project
from geoflow.geometry.hands.hand_depth import depth_factor, steady_factors
from geoflow.geometry.hands.hand_motion import NO_LIMITS, HandLimits, between, gaps, in_unit, slow_enough, unbroken
from geoflow.geometry.hands.hand_pose import MAX_RESIDUAL, NUM_JOINTS, locate, scene_scale, wrist_pose
from geoflow.geometry.hands.hand_rows import HandArrays, empty
from geoflow.geometry.hands.hand_sides import Detection, HandTrack, main_hands, palm_size
from geoflow.geometry.hands.hand_smoothing import NOT_SMOOTHED, Smoothing, smooth_places
from geoflow.geometry.rigid import apply, invert

_Sights = list[tuple[int, np.ndarray, Detection]]  # frame, joints (21, 3) in metres, and what was seen


def lift_hands(
    tracks: Sequence[HandTrack],
    sides: Sequence[str],
    intrinsics: np.ndarray,
    depth: np.ndarray | None = None,
    *,
    metric: bool = False,
    time_s: np.ndarray | None = None,
    world_from_cam: np.ndarray | None = None,
    limits: HandLimits = NO_LIMITS,
    smoothing: Smoothing = NOT_SMOOTHED,
) -> tuple[list[HandArrays], dict[str, dict[str, np.ndarray]]]:
    """Return the arrays of each hand, in the order of the tracks, and those of the main hand of each side.

    sides          "left" or "right" of each track
    intrinsics     (T, 3, 3) px
    depth          (T, H, W) scene depth, 0 where unknown, or None
    metric         the scene is in metres already, so no scale is estimated
    time_s         (T,), needed if `limits` has a velocity
    world_from_cam (T, 4, 4) scene units, or None

    A hand's size does not change: so the shapes of a track are first scaled to their median palm size. A joint has the
    depth that `locate` finds and lies on the ray through its pixel, so that it projects exactly onto its `uv`. All
    hands of the segment are scaled from metres to scene units along their rays by one factor (`scene_scale`). Without
    depth at the hands there is no factor: the hands stay in metres, and `scale` is NaN. In a scene that is in metres,
    each hand is moved along its rays to the depth under it instead, so that its own size decides (`hand_depth`).

    Then motion that is too fast is left out, what remains is smoothed if `smoothing` says so, which moves `uv` with the
    joints, and short gaps are filled: there `valid` and `filled` are True, and `confidence` is 0.

    The main hand of a side (`main_hands`) is taken for one hand, although several tracks may be parts of it: it has one
    size, and its motion and gaps are judged from one track to the next.
    """
    count = len(intrinsics)
    placed = [_place(track, intrinsics) for track in tracks]
    main = _main(placed, tracks, sides, count)
    rows = [(i, joints, detection.uv) for sights in main.values() for i, joints, detection in sights]
    known = scene_scale(rows, depth, depth_offset_m=limits.depth_offset) if depth is not None and not metric else None
    per_metre = 1.0 if metric else known
    steady_m = in_unit(world_from_cam, count, per_metre)
    steady = in_unit(world_from_cam, count, None if per_metre is None else 1.0)

    def arrays_of(sights: _Sights, side: str) -> dict[str, np.ndarray]:
        if metric and depth is not None:
            sights = _at_depth(sights, depth, limits.depth_offset)
        believed, arrays = _slow(sights, time_s, steady_m, limits), empty(count)
        if smoothing.cutoff and time_s is not None:
            believed = _smoothed(believed, time_s, steady_m, intrinsics, smoothing, limits.max_gap)
        _write(arrays, believed, known or 1.0, side)
        _fill(arrays, gaps([i for i, _, _ in believed], limits), intrinsics, steady, side)
        arrays["scale"][arrays["valid"]] = np.nan if known is None else known
        return arrays

    hands = [
        HandArrays(side, track.right(), track.strength(), arrays_of(sights, side))
        for track, side, sights in zip(tracks, sides, placed)
    ]
    return hands, {side: arrays_of(sights, side) for side, sights in main.items()}


def _main(
    placed: Sequence[_Sights], tracks: Sequence[HandTrack], sides: Sequence[str], count: int
) -> dict[str, _Sights]:
    """Return the sights of the main hand of each side, at the size of one hand."""
    seen = np.zeros((len(placed), count), bool)
    for k, sights in enumerate(placed):
        seen[k, [i for i, _, _ in sights]] = True
    chosen = main_hands(seen, sides, [track.strength() for track in tracks])
    by_frame = [{row[0]: row for row in sights} for sights in placed]
    sizes = [track.palm_size() for track in tracks]
    main = {}
    for side, numbers in chosen.items():
        frames = np.flatnonzero(numbers >= 0)
        sights = [by_frame[numbers[i]][i] for i in frames]
        size = float(np.median([palm_size(detection.shape_m) for _, _, detection in sights])) if sights else 1.0
        main[side] = [(i, joints * (size / sizes[numbers[i]]), detection) for i, joints, detection in sights]
    return main


def _slow(sights: _Sights, time_s: np.ndarray | None, steady_m: np.ndarray, limits: HandLimits) -> _Sights:
    if time_s is None or not sights:
        return sights
    wrists = np.array([joints[0] for _, joints, _ in sights])
    frames = np.array([i for i, _, _ in sights])
    weight = np.array([detection.score for _, _, detection in sights])
    keep = slow_enough(wrists, frames, time_s, weight, steady_m, limits)
    return [row for row, good in zip(sights, keep) if good]


def _at_depth(sights: _Sights, depth: np.ndarray, offset_m: float) -> _Sights:
    """Return the sights at the distance that the scene's depth, in metres, says."""
    found = [depth_factor(joints, detection.uv, depth[i], 1.0, offset_m) for i, joints, detection in sights]
    factors = steady_factors(np.array(found), np.array([i for i, _, _ in sights], int))
    return [(i, joints * factor, detection) for (i, joints, detection), factor in zip(sights, factors)]


def _smoothed(
    sights: _Sights, time_s: np.ndarray, steady_m: np.ndarray, intrinsics: np.ndarray, how: Smoothing, max_gap: int
) -> _Sights:
    """Return the sights with their joints smoothed in a frame that does not move with the camera."""
    found: _Sights = []
    frames = np.array([i for i, _, _ in sights], int)
    for run in unbroken(frames, max_gap):
        own = frames[run]
        world = np.stack([apply(steady_m[i], sights[n][1]) for n, i in zip(run, own)])
        for n, i, joints in zip(run, own, smooth_places(world, time_s[own], how)):
            here = apply(invert(steady_m[i]), joints)
            uv = project(here, intrinsics[i].astype(np.float64))
            if np.isfinite(uv).all():
                found.append((int(i), here, replace(sights[n][2], uv=uv)))
    return found


def _write(hand: dict[str, np.ndarray], sights: _Sights, scale: float, side: str) -> None:
    for i, joints, detection in sights:
        hand["valid"][i] = True
        hand["joints"][i] = joints * scale
        hand["wrist"][i] = wrist_pose(hand["joints"][i].astype(np.float64), side)
        hand["uv"][i] = detection.uv
        hand["confidence"][i] = detection.score


def _fill(
    hand: dict[str, np.ndarray], pairs: list[tuple[int, int]], intrinsics: np.ndarray, steady: np.ndarray, side: str
) -> None:
    """Interpolate the hand between two observations, in a frame that does not move with the camera."""
    for a, b in pairs:
        joints_a, joints_b = (apply(steady[i], hand["joints"][i].astype(np.float64)) for i in (a, b))
        wrist_a, wrist_b = (steady[i] @ hand["wrist"][i].astype(np.float64) for i in (a, b))
        if not np.isfinite([wrist_a, wrist_b]).all():
            continue
        for i in range(a + 1, b):
            here = apply(invert(steady[i]), between(joints_a, joints_b, wrist_a, wrist_b, (i - a) / (b - a)))
            uv = project(here, intrinsics[i].astype(np.float64))
            if np.isfinite(uv).all():
                hand["valid"][i] = hand["filled"][i] = True
                hand["joints"][i], hand["uv"][i] = here, uv
                hand["wrist"][i] = wrist_pose(here, side)


def _place(track: HandTrack, intrinsics: np.ndarray) -> _Sights:
    typical = track.palm_size()
    placed = []
    for i, detection in zip(track.frames, track.detections):
        if (size := palm_size(detection.shape_m)) <= 0:
            continue
        xyz, error = locate(detection.shape_m * (typical / size), detection.uv, intrinsics[i])
        if error <= MAX_RESIDUAL:
            rays = np.c_[detection.uv, np.ones(NUM_JOINTS)] @ np.linalg.inv(intrinsics[i].astype(np.float64)).T
            placed.append((i, rays * xyz[:, 2:], detection))
    return placed
