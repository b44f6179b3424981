"""Flights: short camera paths past, into, around and through a scene whose middle lies at (0, 0, 1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from geoflow.geometry.rigid import invert

_AIM = np.array([0.0, 0.0, 1.0])


def fly(kind: str, frames: int, travel: float, shake_deg: float, rng: np.random.Generator) -> np.ndarray:
    """Return poses cam_from_world (T, 4, 4) of a flight, one of FLIGHTS.

    `travel` is the way over the distance to the middle of the scene (an arc's angle in radians). A hand shakes the
    direction by `shake_deg`, smoothly over a few frames. The first camera is near the origin.
    """
    share = np.linspace(-0.5, 0.5, frames) + 0.15 / frames * rng.uniform(-1, 1, frames)
    centers, turns = FLIGHTS[kind](share, travel, rng)
    turns = turns + np.radians(shake_deg) * _smooth_noise(frames, rng)
    centers = centers + 0.03 * travel * _smooth_noise(frames, rng)
    world_from_cam = np.tile(np.eye(4), (frames, 1, 1))
    world_from_cam[:, :3, :3] = np.stack([_turned(*turn) for turn in turns])
    world_from_cam[:, :3, 3] = centers
    return invert(world_from_cam)


Path = tuple[np.ndarray, np.ndarray]  # centres (T, 3); yaw, pitch and roll (T, 3) rad


def _sideways(share: np.ndarray, travel: float, rng: np.random.Generator) -> Path:
    """Past the scene in any direction of the picture, and turned towards it by a part of the full amount."""
    angle, aim = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1)
    steps = share[:, None] * travel
    centers = steps * np.array([np.cos(angle), 0.5 * np.sin(angle), 0.15 * rng.uniform(-1, 1)])
    return centers, aim * _aimed(centers)


def _forward(share: np.ndarray, travel: float, rng: np.random.Generator) -> Path:
    """Into the scene, or backwards out of it, a little off the axis."""
    sign = rng.choice([-1, 1])
    centers = np.outer(sign * share * travel, [*0.2 * rng.uniform(-1, 1, 2), 1.0])
    return centers, np.tile([*0.05 * rng.uniform(-1, 1, 2), 0.0], (len(share), 1))


def _arc(share: np.ndarray, travel: float, rng: np.random.Generator) -> Path:
    """Around the middle of the scene, aimed at it: the turn hides what the way would show."""
    angle, axis = share * travel, rng.uniform(-0.5, 0.5)
    centers = np.stack([np.sin(angle), axis * np.sin(angle), 1 - np.cos(angle)], axis=1)
    return centers, _aimed(centers)


def _walk(share: np.ndarray, travel: float, rng: np.random.Generator) -> Path:
    """Forward with the sway and bob of steps; the look swings with them."""
    phase, pace = rng.uniform(0, 2 * np.pi, 2), rng.uniform(2, 5)
    swing = np.sin(2 * np.pi * pace * share + phase[0])
    bob = np.abs(np.sin(2 * np.pi * pace * share + phase[1]))
    centers = np.stack([0.05 * travel * swing, 0.04 * travel * bob, travel * share], axis=1)
    turns = np.stack([0.015 * swing + 0.1 * rng.uniform(-1, 1), 0.01 * bob, 0.01 * swing], axis=1)
    return centers, turns


def _corner(share: np.ndarray, travel: float, rng: np.random.Generator) -> Path:
    """Around a bend, the look ahead of the way."""
    bend = rng.choice([-1, 1]) * rng.uniform(0.3, 0.8)
    heading = bend * share
    steps = np.stack([np.sin(heading), np.zeros_like(share), np.cos(heading)], axis=1) * travel / len(share)
    centers = np.cumsum(steps, axis=0)
    ahead = np.stack([1.3 * heading, np.zeros_like(share), np.zeros_like(share)], axis=1)
    return centers - centers.mean(0), ahead


FLIGHTS: dict[str, Callable[[np.ndarray, float, np.random.Generator], Path]] = {
    "sideways": _sideways,
    "forward": _forward,
    "arc": _arc,
    "walk": _walk,
    "corner": _corner,
}


def _aimed(centers: np.ndarray) -> np.ndarray:
    """Yaw and pitch (T, 3) that aim cameras at the middle of the scene."""
    x, y, z = (_AIM - centers).T
    return np.stack([np.arctan2(x, z), -np.arctan2(y, np.hypot(x, z)), np.zeros_like(x)], axis=1)


def _turned(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """world_from_cam (3, 3); a positive yaw looks right, a positive pitch up."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


def _smooth_noise(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Noise (T, 3) of unit strength that changes over about three frames."""
    noise = rng.standard_normal((frames + 4, 3))
    return np.stack([np.convolve(column, np.ones(5), "valid") for column in noise.T], axis=1) / np.sqrt(5)
