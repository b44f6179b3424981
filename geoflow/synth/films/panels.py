"""Scenes of opaque parallelograms, whose first hit along a ray is exact: reliefs, cards, rooms and grounds.

Lengths are in units of the distance from the first camera to the middle of the scene; axes are OpenCV's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_NEAREST = 1e-3  # nothing closer to the camera is seen
_MIDDLE = 1.0  # distance of the middle of the scene
_REACH = 1.6  # how far a scene extends beyond what the first camera sees


@dataclass(frozen=True)
class Panels:
    """P parallelograms: points corner + a right + b down with a, b in [0, 1]."""

    corner: np.ndarray  # (P, 3)
    right: np.ndarray  # (P, 3)
    down: np.ndarray  # (P, 3)

    def cast(self, center: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first hits of rays (N, 3) from a point (3,): the factor of the ray (N,) and the panel (N,).

        A ray that hits nothing has the factor inf and the panel -1.
        """
        factor, panel = np.full(len(rays), np.inf), np.full(len(rays), -1)
        for k, (s, a, b) in enumerate(self._crossings(center, rays)):
            hit = (s > _NEAREST) & (s < factor) & (a >= 0) & (a <= 1) & (b >= 0) & (b <= 1)
            factor[hit], panel[hit] = s[hit], k
        return factor, panel

    def place(self, panel: int, xyz: np.ndarray) -> np.ndarray:
        """Return the coordinates a, b (N, 2) of points (N, 3) on a panel."""
        return (xyz - self.corner[panel]) @ self._dual(panel)[:, :2]

    def _dual(self, panel: int) -> np.ndarray:
        """Return the (3, 3) matrix whose columns give a, b and the height over the panel's plane."""
        axes = np.stack([self.right[panel], self.down[panel], np.cross(self.right[panel], self.down[panel])])
        return np.linalg.inv(axes)

    def _crossings(self, center: np.ndarray, rays: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield for each panel where rays (N, 3) cross its plane: the factor of the ray, a and b, (N,) each."""
        for k in range(len(self.corner)):
            dual = self._dual(k)
            start, step = (center - self.corner[k]) @ dual, rays @ dual
            with np.errstate(divide="ignore", invalid="ignore"):
                s = -start[2] / step[:, 2]
                yield s, start[0] + s * step[:, 0], start[1] + s * step[:, 1]


@dataclass(frozen=True)
class Frame:
    """What a scene has to fill: half the width and height of the view at distance 1, and the relief."""

    half_width: float
    half_height: float
    relief: float  # depth range, in units of the middle distance


def build_panels(kind: str, frame: Frame, rng: np.random.Generator) -> Panels:
    """Return a random scene: one of SCENES, with depths within about 1 - relief / 2 and 1 + relief / 2."""
    return _pack(SCENES[kind](frame, rng))


def _relief(frame: Frame, rng: np.random.Generator) -> list[np.ndarray]:
    """A back wall, a little slanted, with boxes of different heights before it: a facade, a shelf, a bas-relief."""
    far = _MIDDLE + frame.relief / 2
    parts = [_wall(frame, far, rng)]
    for _ in range(rng.integers(6, 15)):
        x, y, w, h = _spot(frame, rng, (0.12, 0.5))
        z = far - frame.relief * rng.uniform(0.15, 1.0)
        parts += _box(
            [x - w / 2, y - h / 2, z], [x + w / 2, y + h / 2, far + 0.2 * frame.relief], rng.uniform(-0.3, 0.3)
        )
    return parts


def _cards(frame: Frame, rng: np.random.Generator) -> list[np.ndarray]:
    """A back wall and free-standing cards at different depths before it, each tilted its own way."""
    far = _MIDDLE + frame.relief / 2
    parts = [_wall(frame, far, rng)]
    for _ in range(rng.integers(5, 12)):
        x, y, w, h = _spot(frame, rng, (0.2, 0.7))
        tilt = np.tan(rng.uniform(-0.5, 0.5, 2)) * [w, h]
        tilt *= min(1.0, 0.4 * frame.relief / max(np.abs(tilt).sum(), 1e-9))
        z = far - frame.relief * rng.uniform(0.3, 1.0)
        roll = rng.uniform(-0.4, 0.4)
        right = np.array([w * np.cos(roll), w * np.sin(roll), tilt[0]])
        down = np.array([-h * np.sin(roll), h * np.cos(roll), tilt[1]])
        parts.append(np.stack([np.array([x, y, z]) - (right + down) / 2, right, down]))
    return parts


def _ground(frame: Frame, rng: np.random.Generator) -> list[np.ndarray]:
    """A ground seen from above at a slant, a far wall, and boxes that stand on the ground."""
    near, far = _MIDDLE - frame.relief / 2, _MIDDLE + frame.relief / 2
    low = rng.uniform(0.5, 0.8) * frame.half_height  # of the ground at the near end
    high = -rng.uniform(-0.1, 0.3) * frame.half_height  # at the far end
    span = 2 * _REACH * frame.half_width * far
    slope = (high * far - low * near) / max(far - near, 1e-9)
    start = low * near - slope * near * 0.6
    ground = np.array([[-span / 2, start, near * 0.4], [span, 0, 0], [0, slope * (far - near * 0.4), far - near * 0.4]])
    back = np.array([[-span / 2, -_REACH * 2 * frame.half_height * far, far], [span, 0, 0]])
    parts = [ground, np.vstack([back, [[0, (high + _REACH * 2 * frame.half_height) * far, 0]]])]
    for _ in range(rng.integers(6, 13)):
        z = rng.uniform(near, far - 0.1 * frame.relief)
        x = rng.uniform(-1.2, 1.2) * frame.half_width * z
        w, h = rng.uniform(0.1, 0.4) * frame.half_width, rng.uniform(0.2, 0.9) * frame.half_height
        y = low * near + slope * (z - near)
        parts += _box([x - w / 2, y - h, z], [x + w / 2, y, z + min(w, 0.5 * frame.relief)], rng.uniform(-0.7, 0.7))
    return parts


def _room(frame: Frame, rng: np.random.Generator) -> list[np.ndarray]:
    """A room or passage seen from inside, with boxes along its walls; the way along its axis stays free."""
    end = _MIDDLE + frame.relief / 2
    w, h = rng.uniform(0.35, 0.7, 2) * [1.0, 0.8]
    low, high = np.array([-w, -h, -0.4]), np.array([w, h, end])
    parts = _box(low, high, 0.0)
    for _ in range(rng.integers(6, 13)):
        side = rng.choice([-1, 1])
        size = rng.uniform(0.08, 0.3, 3) * [2 * w, 2 * h, 1.0] * [0.5, 1.0, 0.5]
        z = rng.uniform(0.15, end - size[2])
        x = side * (w - size[0] / 2)
        y = h - size[1] / 2 if rng.random() < 0.7 else rng.uniform(-h, h - size[1])
        middle = np.array([x, y, z + size[2] / 2])
        parts += _box(middle - size / 2, middle + size / 2, rng.uniform(-0.2, 0.2))
    return parts


SCENES = {"relief": _relief, "cards": _cards, "ground": _ground, "room": _room}


def _wall(frame: Frame, z: float, rng: np.random.Generator) -> np.ndarray:
    """A wall that fills the view from everywhere, slanted by at most a quarter of the relief over the view."""
    w, h = 2 * _REACH * frame.half_width * z, 2 * _REACH * frame.half_height * z
    slant = rng.uniform(-1, 1, 2) * 0.25 * frame.relief * _REACH
    right, down = np.array([w, 0, slant[0]]), np.array([0, h, slant[1]])
    return np.stack([np.array([0, 0, z + 0.25 * frame.relief]) - (right + down) / 2, right, down])


def _spot(frame: Frame, rng: np.random.Generator, sizes: tuple[float, float]) -> tuple[float, float, float, float]:
    """A place and a size on the picture at distance 1: x, y of the middle, width and height."""
    x, y = rng.uniform(-1.2, 1.2, 2) * [frame.half_width, frame.half_height]
    w, h = rng.uniform(*sizes, 2) * [frame.half_width, frame.half_height] * 1.2
    return float(x), float(y), float(w), float(h)


def _box(low: np.ndarray | list[float], high: np.ndarray | list[float], yaw: float) -> list[np.ndarray]:
    """The six sides of a box between two corners, turned about the vertical through its middle."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    middle, (x, y, z) = (low + high) / 2, np.diag(high - low)
    sides = [(low, x, y), (low + z, x, y), (low, z, y), (low + x, z, y), (low, x, z), (low + y, x, z)]
    return [np.stack([turn @ (corner - middle) + middle, turn @ right, turn @ down]) for corner, right, down in sides]


def _pack(parts: list[np.ndarray]) -> Panels:
    corner, right, down = np.stack(parts, axis=1)
    return Panels(corner, right, down)
