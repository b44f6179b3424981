"""Hands of a hand model through a segment: one shape, true distance, smooth motion, gaps filled.

A network of a hand model says for each frame how the hand's joints are turned, which shape it has and where its wrist
is. All that is done over time is done with these: joints, vertices and pixels are made from them at the end, so that
they always belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from geoflow.geometry.cameras import project
from geoflow.geometry.hands.hand_depth import depth_factor, steady_factors
from geoflow.geometry.hands.hand_motion import NO_LIMITS, HandLimits, gaps, in_unit, slow_enough, unbroken
from geoflow.geometry.hands.hand_pose import MIN_DEPTH_M, scene_scale, wrist_pose
from geoflow.geometry.hands.hand_rows import ARRAYS, HandArrays, empty
from geoflow.geometry.hands.hand_sides import SIDES, main_hands, palm_size
from geoflow.geometry.hands.hand_smoothing import (
    NOT_SMOOTHED,
    Smoothing,
    part_of_turn,
    rotation_vectors,
    smooth_places,
    smooth_rotations,
    turn_between,
)

MODEL_ARRAYS = ("mano_pose", "betas", "mano_scale")  # besides those of `hand_rows.ARRAYS`
VERTICES = "vertices"

# Rotations (N, 16, 3, 3), shapes (N, 10) and a side to joints (N, 21, 3) and vertices (N, V, 3), metres, about the hand
# model's origin. Rotation 0 is cam_from_hand.
Shape = Callable[[np.ndarray, np.ndarray, str], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class HandStates:
    """One hand in N frames: metres, camera frame."""

    frames: np.ndarray  # (N,) int64, increasing
    rotations: np.ndarray  # (N, 16, 3, 3): cam_from_hand, then each joint relative to its parent
    betas: np.ndarray  # (N, 10)
    wrist: np.ndarray  # (N, 3)
    size: np.ndarray  # (N,) of the hand over that of its shape
    score: np.ndarray  # (N,) 0..1; NaN: filled in

    def rows(self, index: Any) -> HandStates:
        """Return some of the frames."""
        return HandStates(*(getattr(self, row.name)[index] for row in fields(self)))

    def at_distance(self, factor: np.ndarray) -> HandStates:
        """Return the hand moved along its rays to `factor` (N,) of its distance, at the same projection."""
        return replace(self, wrist=self.wrist * factor[:, None], size=self.size * factor)

    def points(self, shape: Shape, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Return joints (N, 21, 3) and vertices (N, V, 3) in the camera frame."""
        found = shape(self.rotations, self.betas, side)
        origin = found[0][:, :1].astype(np.float64)
        joints, vertices = ((part - origin) * self.size[:, None, None] + self.wrist[:, None] for part in found)
        return joints, vertices


@dataclass(frozen=True)
class PosedHand:
    """One hand through a segment."""

    side: str  # "left" or "right"
    right: float  # 0..1, probability that it is a right hand
    strength: float  # how much it counts as the hand of its side
    states: HandStates


@dataclass(frozen=True)
class _Scene:
    """What is known about the segment that hands are in."""

    intrinsics: np.ndarray  # (T, 3, 3) float64
    depth: np.ndarray | None  # (T, H, W)
    known: float | None  # scene units per metre, where the scene is not in metres and the factor is known
    metric: bool
    time_s: np.ndarray  # (T,)
    steady: np.ndarray  # (T, 4, 4) world_from_cam, metres
    limits: HandLimits
    smoothing: Smoothing


def lift_posed_hands(
    hands: Sequence[PosedHand],
    shape: Shape,
    intrinsics: np.ndarray,
    depth: np.ndarray | None = None,
    *,
    time_s: np.ndarray,
    metric: bool = False,
    world_from_cam: np.ndarray | None = None,
    limits: HandLimits = NO_LIMITS,
    smoothing: Smoothing = NOT_SMOOTHED,
    vertices: bool = False,
) -> tuple[list[HandArrays], dict[str, dict[str, np.ndarray]]]:
    """Return the arrays of each hand, and those of the main hand of each side; arguments as of `lift_hands`.

    A hand has one shape: the median over its frames. Where the scene's depth is known under a hand, the hand is moved
    along its rays to that depth (`hand_depth`). If the scene is in metres, so is the hand; if not, one factor for the
    segment (`scene_scale`) brings hands into its unit, and without depth at the hands they stay in metres. Motion that
    is too fast is left out, what remains is smoothed in a frame that does not move with the camera, and short gaps are
    filled. `uv` is the projection of the joints.

    Besides `ARRAYS`, arrays have `mano_pose`, `betas`, `mano_scale`, and `vertices` if asked for.
    """
    alike = [of_one_shape(hand.states, shape, hand.side) for hand in hands]
    main = _main(hands, shape, len(intrinsics))
    k = intrinsics.astype(np.float64)
    known = None if metric or depth is None else _scale(main, shape, k, depth, limits)
    steady = in_unit(world_from_cam, len(k), 1.0 if metric else known)
    scene = _Scene(k, depth, known, metric, np.asarray(time_s, np.float64), steady, limits, smoothing)

    def arrays_of(states: HandStates, side: str) -> dict[str, np.ndarray]:
        return _written(_improved(states, scene, shape, side), scene, shape, side, vertices)

    every = [
        HandArrays(hand.side, hand.right, hand.strength, arrays_of(states, hand.side))
        for hand, states in zip(hands, alike)
    ]
    return every, {side: arrays_of(states, side) for side, states in main.items()}


def of_one_shape(states: HandStates, shape: Shape, side: str) -> HandStates:
    """Return a hand with the median of its shapes; its distance changes with its size, so that it looks the same."""
    if not len(states.frames):
        return states
    betas = np.broadcast_to(np.median(states.betas, axis=0), states.betas.shape)
    changed = replace(states, betas=np.ascontiguousarray(betas))
    sizes = [np.array([palm_size(joints) for joints in one.points(shape, side)[0]]) for one in (changed, states)]
    return replace(changed, wrist=changed.wrist * (sizes[0] / sizes[1])[:, None])


def _main(hands: Sequence[PosedHand], shape: Shape, count: int) -> dict[str, HandStates]:
    """Return the main hand of each side, put together from the tracks that have it."""
    seen = np.zeros((len(hands), count), bool)
    for k, hand in enumerate(hands):
        seen[k, hand.states.frames] = True
    chosen = main_hands(seen, [hand.side for hand in hands], [hand.strength for hand in hands])
    main = {}
    for side in SIDES:
        frames = np.flatnonzero(chosen[side] >= 0)
        parts = [hands[chosen[side][i]].states.rows(hands[chosen[side][i]].states.frames == i) for i in frames]
        main[side] = of_one_shape(_together(parts), shape, side)
    return main


def _together(parts: Sequence[HandStates]) -> HandStates:
    """Return the states of several in the order of their frames."""
    blank = HandStates(
        np.zeros(0, np.int64), np.zeros((0, 16, 3, 3)), np.zeros((0, 10)), np.zeros((0, 3)), np.zeros(0), np.zeros(0)
    )
    whole = HandStates(
        *(np.concatenate([getattr(part, row.name) for part in (blank, *parts)]) for row in fields(blank))
    )
    return whole.rows(np.argsort(whole.frames, kind="stable"))


def _scale(
    main: dict[str, HandStates], shape: Shape, intrinsics: np.ndarray, depth: np.ndarray, limits: HandLimits
) -> float | None:
    rows = []
    for side, states in main.items():
        joints, _ = states.points(shape, side)
        rows += [(int(i), xyz, project(xyz, intrinsics[i])) for i, xyz in zip(states.frames, joints)]
    return scene_scale([row for row in rows if np.isfinite(row[2]).all()], depth, depth_offset_m=limits.depth_offset)


def _improved(states: HandStates, scene: _Scene, shape: Shape, side: str) -> HandStates:
    """Return a hand at its true distance, without what is too fast, smoothed, and with its gaps filled."""
    if not len(states.frames):
        return states
    if scene.depth is not None and (scene.metric or scene.known):
        states = states.at_distance(_factors(states, scene, shape, side))
    steady, limits = scene.steady, scene.limits
    states = states.rows(slow_enough(states.wrist, states.frames, scene.time_s, states.score, steady, limits))
    if scene.smoothing.cutoff:
        states = _together([_smoothed(states.rows(run), scene) for run in unbroken(states.frames, limits.max_gap)])
    pairs = gaps(states.frames.tolist(), limits)
    return _together([states, *(_between(states, a, b, scene.steady) for a, b in pairs)])


def _factors(states: HandStates, scene: _Scene, shape: Shape, side: str) -> np.ndarray:
    """Return the true distance over the estimated one, (N,)."""
    assert scene.depth is not None
    joints, _ = states.points(shape, side)
    found = []
    for i, xyz in zip(states.frames, joints):
        uv = project(xyz, scene.intrinsics[i])
        seen = np.isfinite(uv).all()
        per_metre, offset = scene.known or 1.0, scene.limits.depth_offset
        found.append(depth_factor(xyz, uv, scene.depth[i], per_metre, offset) if seen else np.nan)
    return steady_factors(np.array(found), states.frames)


def _smoothed(run: HandStates, scene: _Scene) -> HandStates:
    """Return a hand whose places, turns and size are smoothed, in a frame that does not move with the camera."""
    time, how = scene.time_s[run.frames], scene.smoothing
    turns, places = _in_world(run, scene.steady)
    size = np.exp(smooth_places(np.log(run.size)[:, None], time, replace(how, per_metre=0))[:, 0])
    moved = replace(run, rotations=smooth_rotations(turns, time, how), wrist=smooth_places(places, time, how))
    return replace(_in_camera(moved, scene.steady), size=size)


def _between(states: HandStates, a: int, b: int, steady: np.ndarray) -> HandStates:
    """Return the frames between two observed frames: straight for the wrist, by the shortest turn for rotations."""
    first, last = (states.rows(states.frames == i) for i in (a, b))
    frames = np.arange(a + 1, b)
    share = (frames - a) / (b - a)
    (turn_a, place_a), (turn_b, place_b) = (_in_world(one, steady) for one in (first, last))
    whole = np.broadcast_to(turn_a, (len(frames), *turn_a.shape[1:]))
    step = np.broadcast_to(turn_between(turn_a, turn_b), (len(frames), turn_a.shape[1], 3))
    made = HandStates(
        frames,
        part_of_turn(whole, step, np.broadcast_to(share[:, None], step.shape[:2])),
        np.repeat(first.betas, len(frames), axis=0),
        place_a + share[:, None] * (place_b - place_a),
        first.size + share * (last.size - first.size),
        np.full(len(frames), np.nan),
    )
    return _in_camera(made, steady)


def _in_world(states: HandStates, steady: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations, of which the first is world_from_hand, and the wrist's places in the world."""
    pose = steady[states.frames]
    turns = states.rotations.astype(np.float64).copy()
    turns[:, 0] = pose[:, :3, :3] @ turns[:, 0]
    return turns, (pose[:, :3, :3] @ states.wrist[..., None])[..., 0] + pose[:, :3, 3]


def _in_camera(states: HandStates, steady: np.ndarray) -> HandStates:
    """Return states that are given in the world in their frames' cameras; the inverse of `_in_world`."""
    pose = steady[states.frames]
    back = np.swapaxes(pose[:, :3, :3], 1, 2)
    turns = states.rotations.copy()
    turns[:, 0] = back @ turns[:, 0]
    wrist = (back @ (states.wrist - pose[:, :3, 3])[..., None])[..., 0]
    return replace(states, rotations=turns, wrist=wrist)


def _written(states: HandStates, scene: _Scene, shape: Shape, side: str, vertices: bool) -> dict[str, np.ndarray]:
    """Return the arrays of a hand, in scene units where their factor is known."""
    names = (*ARRAYS, *MODEL_ARRAYS, *((VERTICES,) if vertices else ()))
    arrays, unit = empty(len(scene.intrinsics), names), scene.known or 1.0
    joints, surface = states.points(shape, side)
    turns = rotation_vectors(states.rotations)
    for n, i in enumerate(states.frames):
        uv, pose = project(joints[n], scene.intrinsics[i]), wrist_pose(joints[n] * unit, side)
        if joints[n, :, 2].min() < MIN_DEPTH_M or not (np.isfinite(uv).all() and np.isfinite(pose).all()):
            continue
        arrays["valid"][i], arrays["filled"][i] = True, np.isnan(states.score[n])
        arrays["confidence"][i] = np.nan_to_num(states.score[n])
        arrays["joints"][i], arrays["wrist"][i], arrays["uv"][i] = joints[n] * unit, pose, uv
        arrays["mano_pose"][i], arrays["betas"][i] = turns[n], states.betas[n]
        arrays["mano_scale"][i] = states.size[n] * unit
        arrays["scale"][i] = np.nan if scene.known is None else scene.known
        if vertices:
            arrays[VERTICES][i] = surface[n] * unit
    return arrays
