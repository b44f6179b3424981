"""Camera paths: the camera's place and direction at any time."""

from __future__ import annotations

import numpy as np

from geoflow.errors import ConfigError
from geoflow.geometry.rigid import skew

MOTIONS = ("handheld", "orbit", "still", "rotate")

_START = np.array([0.0, -0.1, -2.2])
_TARGET = np.array([0.0, 0.35, 1.2])


def cam_from_world_at(time_s: float, motion: str, seed: int) -> np.ndarray:
    """Return the pose at a time: (4, 4) float64, smooth in time and the same for the same seed.

    `handheld` sways and walks a little, with real parallax; `orbit` swings on an arc around the scene; `rotate` turns
    in place; `still` does not move.

    Raises ConfigError for an unknown motion.
    """
    if motion not in MOTIONS:
        raise ConfigError(f"unknown camera motion {motion!r}; choose one of {', '.join(MOTIONS)}")
    rng = np.random.default_rng([seed, 3])
    phase = rng.uniform(0, 2 * np.pi, (4, 3))
    center, target, tilt = _START.copy(), _TARGET.copy(), np.zeros(3)
    if motion == "handheld":
        center += _sway(time_s, phase[0], (0.55, 0.16, 0.40), (0.13, 0.21, 0.10))
        center += _sway(time_s, phase[1], (0.035, 0.03, 0.02), (0.83, 0.97, 0.71))
        target += _sway(time_s, phase[2], (0.35, 0.15, 0.0), (0.11, 0.17, 0.1))
        tilt += _sway(time_s, phase[3], (0.008, 0.008, 0.015), (0.9, 1.1, 0.6))
    elif motion == "orbit":
        angle = 0.6 * np.sin(2 * np.pi * 0.08 * time_s + phase[0, 0])
        radius = np.linalg.norm(_TARGET - _START)
        center = _TARGET + radius * np.array([np.sin(angle), 0.0, -np.cos(angle)])
        center[1] = _START[1]
        center = np.clip(center, [-2.6, -1.0, -2.8], [2.6, 1.0, 3.0])
    elif motion == "rotate":
        tilt += _sway(time_s, phase[0], (0.10, 0.40, 0.02), (0.15, 0.12, 0.2))
    return _rotation_vector(tilt) @ _look_at(center, target)


def _sway(time_s: float, phase: np.ndarray, amplitude: tuple, frequency_hz: tuple) -> np.ndarray:
    return np.array(amplitude) * np.sin(2 * np.pi * np.array(frequency_hz) * time_s + phase)


def _look_at(center: np.ndarray, target: np.ndarray) -> np.ndarray:
    forward = target - center
    forward = forward / np.linalg.norm(forward)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right = right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ center
    return pose


def _rotation_vector(vector: np.ndarray) -> np.ndarray:
    """Return the rotation of a rotation vector by Rodrigues' formula, as a (4, 4) transform."""
    angle = float(np.linalg.norm(vector))
    pose = np.eye(4)
    if angle > 0:
        cross = skew(vector / angle)
        pose[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return pose
