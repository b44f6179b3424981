"""Draws a hand with known joints, so that a hand detector can be tested without a photograph in the repository.

The hand is a smooth union of round cones, sphere-traced (Hart 1996) from a pinhole camera and shaded by one light. It
is no portrait, but it is solid, lit and in true perspective.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np

# A right hand seen from its back: x towards the little finger, y from the wrist to the fingers, z out of the back of
# the hand; metres, about an adult's. Per finger: base joint, spread towards the thumb in degrees, lengths of its bones.
_FINGERS = (
    ((-0.030, 0.022, -0.008), 42.0, (0.040, 0.034, 0.028)),  # the thumb starts at the carpus
    ((-0.026, 0.090, 0.000), 9.0, (0.043, 0.026, 0.022)),
    ((-0.004, 0.094, 0.002), 1.0, (0.047, 0.030, 0.024)),
    ((0.016, 0.088, 0.001), -6.0, (0.043, 0.028, 0.024)),
    ((0.034, 0.078, -0.003), -15.0, (0.034, 0.021, 0.021)),
)
_RADII = ((0.0155, 0.0120, 0.0105, 0.0085), *[(0.0110, 0.0095, 0.0085, 0.0070)] * 3, (0.0095, 0.0080, 0.0072, 0.0062))
_SKIN, _NAIL = np.array([0.86, 0.64, 0.53]), np.array([0.98, 0.82, 0.78])
_LIGHT = np.array([-0.45, -0.65, -0.62])


@dataclass(frozen=True)
class _Cone:
    """A capsule whose radius changes along it, and how softly it joins the rest."""

    a: np.ndarray
    b: np.ndarray
    radius_a: float
    radius_b: float
    smooth: float


def hand_joints(side: str = "right", bend_deg: float = 12.0) -> np.ndarray:
    """The 21 joints in MediaPipe's order: (21, 3) float64, metres, axes as above, wrist at the origin."""
    joints = [np.zeros(3)]
    for i, (base, spread_deg, lengths) in enumerate(_FINGERS):
        spread, bend = np.deg2rad(spread_deg), 0.0
        point = np.array(base)
        joints.append(point)
        for length in lengths:
            bend += np.deg2rad(bend_deg if i else bend_deg * 0.6)
            flat = np.array([-np.sin(spread), np.cos(spread), 0.0])
            point = point + length * (np.cos(bend) * flat + np.sin(bend) * np.array([0, 0, -1.0]))
            joints.append(point)
    xyz = np.array(joints)
    return xyz if side == "right" else xyz * [-1, 1, 1]


def place(
    joints: np.ndarray, centre_m: tuple[float, float, float], *, tilt_deg: float = 0.0, roll_deg: float = 0.0
) -> np.ndarray:
    """Put a hand before the camera, its back seen and its fingers up: (21, 3) in camera axes, metres."""
    from_hand = np.diag([1.0, -1.0, -1.0])  # the fingers point to -y, the back to the camera
    a, b = np.deg2rad(tilt_deg), np.deg2rad(roll_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return (joints - joints.mean(0)) @ (about_z @ about_x @ from_hand).T + centre_m


def draw(hands: list[np.ndarray], intrinsics: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture and depth of hands in camera axes: (H, W, 3) uint8 and (H, W) float32, 0 where there is no hand."""
    k = np.asarray(intrinsics, np.float64)
    v, u = np.mgrid[:height, :width].astype(np.float64)
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)], -1)
    image, depth = _background(height, width), np.zeros((height, width), np.float32)
    for joints in hands:
        cones = _cones(joints)
        near = _near(cones, k, height, width)
        z, colour = _trace(cones, rays[near], joints)
        hit = np.zeros_like(near)
        hit[near] = z > 0
        image[hit], depth[hit] = colour[z > 0], z[z > 0]
    return (image * 255).clip(0, 255).astype(np.uint8), depth


def _background(height: int, width: int) -> np.ndarray:
    v, u = np.mgrid[:height, :width] / max(height, width)
    shade = 0.55 + 0.12 * np.sin(3 * u + 1) + 0.10 * v
    return np.stack([shade * 0.55, shade * 0.62, shade * 0.72], -1) ** 1.1


def _cones(joints: np.ndarray) -> list[_Cone]:
    """Fingers, palm and forearm of one hand."""
    cones = []
    for i, radii in enumerate(_RADII):
        chain = joints[1 + 4 * i : 5 + 4 * i]
        cones += [_Cone(chain[j], chain[j + 1], radii[j], radii[j + 1], 0.004) for j in range(3)]
    knuckles, wrist = joints[[5, 9, 13, 17]], joints[0]
    across = joints[5] - joints[17]
    heel = [wrist + share * across for share in (0.33, 0.10, -0.10, -0.33)]
    cones += [_Cone(a, b, 0.0145, 0.0120, 0.012) for a, b in zip(heel, knuckles)]
    cones += [_Cone(a, b, 0.0115, 0.0115, 0.010) for a, b in itertools.pairwise(knuckles)]
    cones.append(_Cone(heel[0], joints[1], 0.015, 0.0165, 0.012))
    cones.append(_Cone(joints[1], joints[2], 0.0165, 0.013, 0.012))
    web = (joints[2] * 0.75 + joints[5] * 0.25, joints[5] * 0.7 + wrist * 0.3)
    cones.append(_Cone(*web, 0.008, 0.009, 0.014))
    elbow = wrist - (joints[9] - wrist) * 1.5
    cones += [_Cone(wrist + s * across, elbow + 1.4 * s * across, 0.019, 0.026, 0.015) for s in (-0.2, 0.2)]
    return cones


def _near(cones: list[_Cone], k: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels whose ray may meet the hand: the projected cones, a little widened."""
    mask = np.zeros((height, width), np.uint8)
    for cone in cones:
        ends = [k[:2, :2].diagonal() * p[:2] / p[2] + k[:2, 2] for p in (cone.a, cone.b)]
        radius = k[0, 0] * (max(cone.radius_a, cone.radius_b) + cone.smooth / 2) / min(cone.a[2], cone.b[2])
        a, b = (tuple(int(c) for c in np.rint(end)) for end in ends)
        cv2.line(mask, a, b, 1, thickness=int(2 * radius) + 3)
    return mask > 0


def _distance(points: np.ndarray, cones: list[_Cone]) -> np.ndarray:
    total = np.full(len(points), 10.0)
    for cone in cones:
        axis = cone.b - cone.a
        local = points - cone.a
        along = np.clip(local @ axis / max(axis @ axis, 1e-12), 0, 1)
        local -= along[:, None] * axis
        d = np.sqrt(np.einsum("ij,ij->i", local, local)) - (cone.radius_a + (cone.radius_b - cone.radius_a) * along)
        blend = np.clip(0.5 + 0.5 * (total - d) / cone.smooth, 0, 1)
        total += (d - total) * blend - cone.smooth * blend * (1 - blend)
    return total


def _trace(cones: list[_Cone], rays: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    speed = np.linalg.norm(rays, axis=1)
    z = np.full(len(rays), joints[:, 2].min() - 0.04)
    far = joints[:, 2].max() + 0.10
    active = np.arange(len(rays))
    hit = np.zeros(len(rays), bool)
    for _ in range(40):
        d = _distance(rays[active] * z[active, None], cones)
        z[active] += d / speed[active]
        hit[active[d < 4e-4]] = True
        active = active[(d >= 4e-4) & (z[active] < far)]
        if not len(active):
            break
    colour = np.zeros((len(rays), 3))
    colour[hit] = _shade(rays[hit] * z[hit, None], cones, joints)
    return np.where(hit, z, 0.0), colour


def _shade(points: np.ndarray, cones: list[_Cone], joints: np.ndarray) -> np.ndarray:
    step = 7e-4
    here = _distance(points, cones)
    normal = np.stack([_distance(points + step * axis, cones) - here for axis in np.eye(3)], -1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    # Creases see less of the sky: a little way out, the nearest surface is closer than it should be.
    open_sky = np.clip(_distance(points + 0.012 * normal, cones) / 0.012, 0, 1)
    diffuse = np.clip(normal @ _LIGHT, 0, 1)
    colour = _SKIN * (0.30 + 0.28 * open_sky + 0.50 * diffuse)[:, None]
    colour += 0.10 * np.clip(1 + normal[:, 2:], 0, 1) ** 2 * np.array([0.9, 0.35, 0.3])  # redder at grazing angles
    for i, radii in enumerate(_RADII):
        _paint_nail(colour, points, normal, joints[3 + 4 * i], joints[4 + 4 * i], radii[3], _back(joints))
    knuckles = joints[[2, 3, 6, 7, 8, 10, 11, 14, 15, 18, 19]]
    near = np.min([np.linalg.norm(points - joint, axis=1) for joint in knuckles], axis=0)
    return colour * (1 - 0.10 * np.exp(-((near / 0.006) ** 2)))[:, None]


def _back(joints: np.ndarray) -> np.ndarray:
    """Direction out of the back of the hand: the side that the fingers bend away from."""
    normal = np.cross(joints[5] - joints[0], joints[17] - joints[0])
    return -np.sign(normal @ (joints[12] - joints[9])) * normal


def _paint_nail(
    colour: np.ndarray,
    points: np.ndarray,
    normal: np.ndarray,
    before: np.ndarray,
    tip: np.ndarray,
    radius: float,
    back: np.ndarray,
) -> None:
    """Nails tell the back of a hand from its palm."""
    along = (tip - before) / np.linalg.norm(tip - before)
    back = back - (back @ along) * along
    back /= np.linalg.norm(back)
    local = points - (tip - 0.001 * along)
    inside = (np.abs(local @ along) < 0.0065) & (np.abs(local @ np.cross(along, back)) < 0.75 * radius)
    inside &= normal @ back > 0.35
    colour[inside] = 0.55 * colour[inside] + 0.45 * _NAIL
