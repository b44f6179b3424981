"""Smooth motion: the One-Euro filter (Casiez et al. 2012) without its lag, for places and for rotations, and jitter.

The filter is slow where a hand rests, so that it does not tremble, and quick where it moves. Here it runs forwards and
backwards, and the mean of both is taken: what lags behind in one runs ahead in the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_SPEED_CUTOFF = 1.0  # Hz, at which speeds are smoothed
_LEAST_S = 1e-3  # between two frames: a file may give both the same time

# How far from one value (state) to another, and a share of the way: for places and for rotations.
_Between = Callable[[np.ndarray, np.ndarray], np.ndarray]
_Along = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Smoothing:
    """Settings of the filter; `cutoff` 0 turns it off."""

    cutoff: float = 1.5  # Hz, at rest
    per_metre: float = 5.0  # Hz more for each m/s
    per_turn: float = 0.5  # Hz more for each rad/s


NOT_SMOOTHED = Smoothing(0)


def smooth_places(places: np.ndarray, time_s: np.ndarray, how: Smoothing) -> np.ndarray:
    """Return places (N, ..., D) in metres, at times (N,) that increase, smoothed; each is a point of D coordinates."""
    return _both_ways(places, time_s, how.cutoff, how.per_metre, _step, _share_of_step)


def smooth_rotations(rotations: np.ndarray, time_s: np.ndarray, how: Smoothing) -> np.ndarray:
    """Return rotations (N, ..., 3, 3) at times (N,) that increase, smoothed."""
    return _both_ways(rotations, time_s, how.cutoff, how.per_turn, turn_between, part_of_turn)


def jitter(places: np.ndarray, time_s: np.ndarray, seen: np.ndarray | None = None) -> float:
    """Return how much a point trembles: the root mean square distance of its places (N, 3) from the middle of their
    neighbours, in their unit. NaN if there are no three neighbours.

    Times (N,) s that are not evenly spaced are accounted for. A straight motion at constant speed has none. `seen` (N,)
    bool are the places that count; the others may be NaN.
    """
    counted = np.ones(len(places), bool) if seen is None else seen
    whole = counted[:-2] & counted[1:-1] & counted[2:] if len(places) > 2 else np.zeros(0, bool)
    if not whole.any():
        return float("nan")
    share = ((time_s[1:-1] - time_s[:-2]) / np.maximum(time_s[2:] - time_s[:-2], _LEAST_S))[:, None]
    middle = (1 - share) * places[:-2] + share * places[2:]
    return float(np.sqrt(((places[1:-1] - middle)[whole] ** 2).sum(-1).mean()))


def turn_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the rotation vectors (..., 3) that turn rotations `a` into `b`, both (..., 3, 3), about axes of `a`."""
    return rotation_vectors(np.swapaxes(a, -1, -2) @ b)


def rotation_vectors(rotations: np.ndarray) -> np.ndarray:
    """Return rotation vectors (..., 3) in rad of rotations (..., 3, 3)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec().reshape(*rotations.shape[:-2], 3)


def part_of_turn(a: np.ndarray, turn: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return rotations `a` (..., 3, 3) turned by a share (...) of rotation vectors (..., 3): slerp (Shoemake 1985)."""
    from scipy.spatial.transform import Rotation

    parts = Rotation.from_rotvec((share[..., None] * turn).reshape(-1, 3)).as_matrix()
    return a @ parts.reshape(a.shape)


def _step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return b - a


def _share_of_step(a: np.ndarray, step: np.ndarray, share: np.ndarray) -> np.ndarray:
    return a + share[..., None] * step


def _both_ways(
    values: np.ndarray, time_s: np.ndarray, cutoff: float, more: float, between: _Between, along: _Along
) -> np.ndarray:
    if not cutoff or len(values) < 2:
        return values
    ahead = _filtered(values, time_s, cutoff, more, between, along)
    back = _filtered(values[::-1], -time_s[::-1], cutoff, more, between, along)[::-1]
    step = between(ahead, back)
    return along(ahead, step, np.full(step.shape[:-1], 0.5))


def _filtered(
    values: np.ndarray, time_s: np.ndarray, cutoff: float, more: float, between: _Between, along: _Along
) -> np.ndarray:
    """Filter forwards. The speed is that of the values as they come, smoothed at a fixed rate."""
    out = np.empty_like(values)
    out[0] = values[0]
    speed: np.ndarray | None = None
    for i in range(1, len(values)):
        passed = max(float(time_s[i] - time_s[i - 1]), _LEAST_S)
        velocity = between(values[i - 1], values[i]) / passed
        weight = _weight(np.array(_SPEED_CUTOFF), passed)
        speed = velocity if speed is None else speed + weight * (velocity - speed)
        share = _weight(cutoff + more * np.linalg.norm(speed, axis=-1), passed)
        out[i] = along(out[i - 1], between(out[i - 1], values[i]), share)
    return out


def _weight(cutoff: np.ndarray, passed: float) -> np.ndarray:
    """Return the weight of a new value for a cutoff in Hz, after `passed` seconds."""
    turned = 2 * np.pi * cutoff * passed
    return turned / (turned + 1)
