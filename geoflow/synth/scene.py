"""A furnished room: its bodies, and their places at any time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROOM_LOW = np.array([-3.0, -1.3, -3.2])
ROOM_HIGH = np.array([3.0, 1.4, 4.0])
FLOOR = float(ROOM_HIGH[1])

# Furniture: x, z of the centre and the half extents. The corridor around z = -0.3 in front of the camera stays free,
# since moving bodies travel there.
_BOXES = (
    (-1.5, 0.9, (0.50, 0.38, 0.40)),
    (1.9, 2.9, (0.60, 0.95, 0.40)),
    (-2.2, 3.1, (0.50, 1.15, 0.40)),
    (1.35, 0.55, (0.30, 0.45, 0.30)),
    (0.2, 2.0, (0.75, 0.28, 0.35)),
    (-1.05, -0.55, (0.22, 0.42, 0.22)),
    (0.1, 3.6, (0.55, 0.75, 0.25)),
    (2.4, 0.9, (0.35, 0.80, 0.30)),
)
_HANGING_SPHERES = ((0.75, -0.62, 1.2, 0.20), (-0.75, -0.72, 2.2, 0.24), (1.55, -0.45, -0.1, 0.13))
_SPHERE_ON_BOX = ((0, 0.22), (3, 0.17), (4, 0.20), (5, 0.13))  # which box, radius


@dataclass(frozen=True)
class Drift:
    """The motion of a body: a sinusoidal path around its centre and a steady spin about the vertical."""

    amplitude: np.ndarray  # (3,) metres
    frequency_hz: np.ndarray  # (3,)
    phase: np.ndarray  # (3,) rad
    spin: float  # rad/s


@dataclass(frozen=True)
class Body:
    """A box or a sphere. `inside` marks the room itself, which is seen from inside."""

    kind: str  # "box" or "sphere"
    center: np.ndarray  # (3,) world
    half: np.ndarray  # (3,) half extents in the body's frame; the radius three times for a sphere
    yaw: float = 0.0
    inside: bool = False
    drift: Drift | None = None

    def world_from_body(self, time_s: float) -> np.ndarray:
        """The body's pose at a time: (4, 4) float64."""
        yaw, center = self.yaw, self.center
        if self.drift is not None:
            angle = 2 * np.pi * self.drift.frequency_hz * time_s + self.drift.phase
            center = center + self.drift.amplitude * np.sin(angle)
            yaw = yaw + self.drift.spin * time_s
        pose = np.eye(4)
        pose[0, :3:2] = np.cos(yaw), np.sin(yaw)
        pose[2, :3:2] = -np.sin(yaw), np.cos(yaw)
        pose[:3, 3] = center
        return pose

    @property
    def diameter(self) -> float:
        """Return the largest distance of two of its points."""
        return float(2 * (self.half[0] if self.kind == "sphere" else np.linalg.norm(self.half)))

    @property
    def face_sizes(self) -> list[tuple[float, float]]:
        """Width and height in metres of each textured face: six for a box, one (longitude, latitude) for a sphere."""
        if self.kind == "sphere":
            radius = float(self.half[0])
            return [(2 * np.pi * radius, np.pi * radius)]
        x, y, z = (2 * float(h) for h in self.half)
        return [(z, y), (z, y), (x, z), (x, z), (x, y), (x, y)]


@dataclass(frozen=True)
class Scene:
    """All bodies; the room is body 0, moving bodies come last."""

    bodies: tuple[Body, ...]
    light: np.ndarray  # (3,) world position of the lamp

    @property
    def moving(self) -> np.ndarray:
        """Return which bodies move: (B,) bool."""
        return np.array([body.drift is not None for body in self.bodies])


def build_scene(seed: int, moving: int) -> Scene:
    """Return the room of a seed, with `moving` moving bodies; the same seed always gives the same room."""
    rng = np.random.default_rng([seed, 1])
    room = Body("box", (ROOM_LOW + ROOM_HIGH) / 2, (ROOM_HIGH - ROOM_LOW) / 2, inside=True)
    boxes = [_furniture(rng, x, z, np.array(half)) for x, z, half in _BOXES]
    spheres = [_sphere(np.array([x, y, z]) + rng.uniform(-0.1, 0.1, 3), r) for x, y, z, r in _HANGING_SPHERES]
    for index, radius in _SPHERE_ON_BOX:
        box = boxes[index]
        spheres.append(_sphere(box.center - np.array([0, box.half[1] + radius, 0]), radius))
    movers = [_mover(np.random.default_rng([seed, 2, k]), k) for k in range(moving)]
    return Scene((room, *boxes, *spheres, *movers), light=np.array([0.4, -1.1, -0.8]))


def _furniture(rng: np.random.Generator, x: float, z: float, half: np.ndarray) -> Body:
    half = half * rng.uniform(0.9, 1.1, 3)
    shift = rng.uniform(-0.12, 0.12, 2)
    center = np.array([x + shift[0], FLOOR - half[1], z + shift[1]])
    return Body("box", center, half, yaw=float(rng.uniform(-0.6, 0.6)))


def _sphere(center: np.ndarray, radius: float) -> Body:
    return Body("sphere", center, np.full(3, radius))


def _mover(rng: np.random.Generator, k: int) -> Body:
    drift = Drift(
        amplitude=np.array([rng.uniform(0.45, 0.7), rng.uniform(0.05, 0.15), rng.uniform(0.1, 0.25)]),
        frequency_hz=np.array([rng.uniform(0.12, 0.2), rng.uniform(0.3, 0.5), rng.uniform(0.1, 0.2)]),
        phase=rng.uniform(0, 2 * np.pi, 3),
        spin=float(rng.uniform(-0.8, 0.8)),
    )
    center = np.array([rng.uniform(-0.2, 0.2), 0.25 - 0.5 * (k % 3), -0.2 + 0.25 * (k // 3)])
    if k % 2:
        return Body("sphere", center, np.full(3, 0.18), drift=drift)
    return Body("box", center, rng.uniform(0.14, 0.22, 3), drift=drift)
