"""Walks from a seed: ones that return, ones that do not, and one through places that look alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from geoflow.bench.slam.box_flow import BoxFlow

SIZE = (128, 160)
CAMERA = (128.0, 128.0, 80.0, 64.0)  # fx, fy, cx, cy from the picture's edge
_STEP = 0.042  # m from frame to frame
_LAP = 240  # frames
_FAR = 400.0  # m, a wall that is out of the way
_SHIFT = 2.0  # m, by which a camera has moved on where all looks the same again


@dataclass(frozen=True)
class MadeUpWalk:
    """The true cameras (T, 4, 4) world from camera, and the walls (3, 2).

    With a `shift`, m in x, the place a lap later looks the same, and is not.
    """

    world_from_cam: np.ndarray
    room: np.ndarray
    shift: float | None = None

    def flow(self, noise: float, seed: int) -> BoxFlow:
        """Return what a network says of it, with errors of `noise` px."""
        return BoxFlow(
            torch.from_numpy(self.world_from_cam),
            torch.tensor(CAMERA),
            torch.from_numpy(self.room),
            SIZE,
            noise,
            seed=seed,
            lap=None if self.shift is None else _LAP,
            shift=self.shift or 0.0,
        )


def returning(seed: int, frames: int) -> MadeUpWalk:
    """Laps round a room of 6 x 3 x 6 m, looking ahead; each of its own shape."""
    angle, (x, y, z) = _round(np.random.default_rng(seed), frames)
    return MadeUpWalk(_looking(np.stack((x, y, z), 1), angle), _room(3, 3))


def onward(seed: int, frames: int) -> MadeUpWalk:
    """Along a winding line in a passage, never back."""
    rng = np.random.default_rng(seed)
    t = _STEP * np.arange(frames)
    wave, phase = rng.uniform(3, 6), rng.uniform(0, 2 * np.pi, 2)
    places = np.stack((0.6 * np.sin(2 * np.pi * t / wave + phase[0]), 0.1 * np.sin(t + phase[1]), t), 1)
    heading = 0.5 * np.cos(2 * np.pi * t / wave + phase[0])
    return MadeUpWalk(_looking(places, heading), np.array([[-2.0, 2], [-1.5, 1.5], [-3, _FAR]]))


def wandering(seed: int, frames: int) -> MadeUpWalk:
    """About a room of 6 x 3 x 6 m on a curve that does not close: places are seen again from elsewhere."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) * 2 * np.pi / _LAP
    rates, phase = np.array([1.0, rng.uniform(0.6, 0.9)]), rng.uniform(0, 2 * np.pi, 2)
    flat = 1.5 * np.sin(rates * t[:, None] + phase)
    ahead = rates * np.cos(rates * t[:, None] + phase)
    heading = np.arctan2(ahead[:, 0], ahead[:, 1])
    places = np.stack((flat[:, 0], 0.1 * np.sin(3 * t), flat[:, 1]), 1)
    return MadeUpWalk(_looking(places, heading), _room(3, 3))


def alike(seed: int, frames: int) -> MadeUpWalk:
    """Laps that move on along a hall that looks the same again: nothing returns, and everything seems to."""
    angle, (x, y, z) = _round(np.random.default_rng(seed), frames)
    x = x + _SHIFT * np.arange(frames) / _LAP
    return MadeUpWalk(_looking(np.stack((x, y, z), 1), angle), _room(_FAR, 3), _SHIFT)


@dataclass(frozen=True)
class Recipe:
    """How walks of a kind are made, and how long the bench has them."""

    make: Callable[[int, int], MadeUpWalk]  # by seed and frames
    frames: int
    noise: float = 0.3  # px of the grid


KINDS = {
    "returning": Recipe(returning, 300),
    "returning, little noise": Recipe(returning, 300, 0.05),
    "onward": Recipe(onward, 240),
    "wandering": Recipe(wandering, 360),
    "alike": Recipe(alike, 360),
}


def _round(rng: np.random.Generator, frames: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    angle = 2 * np.pi * np.arange(frames) / _LAP
    wide, deep = rng.uniform(1.3, 1.8, 2)
    phase = rng.uniform(0, 2 * np.pi, 2)
    wobble = 0.15 * np.sin(2 * angle + phase[0])
    return angle + np.pi / 2, (
        wide * np.sin(angle) + wobble,
        0.15 * np.sin(3 * angle + phase[1]),
        deep * np.cos(angle),
    )


def _room(across: float, along: float) -> np.ndarray:
    return np.array([[-across, across], [-1.5, 1.5], [-along, along]])


def _looking(places: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """Cameras at places (T, 3) that look where `heading` (T,), rad from z to x, points."""
    poses = np.tile(np.eye(4), (len(places), 1, 1))
    c, s = np.cos(heading), np.sin(heading)
    poses[:, 0, 0], poses[:, 0, 2], poses[:, 2, 0], poses[:, 2, 2] = c, s, -s, c
    poses[:, :3, 3] = places
    return poses
