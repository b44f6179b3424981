"""Hands in the camera frame: from a hand's metric shape and its pixels to joints, wrist pose and scene scale.

Joints are in MediaPipe's (and OpenPose's) order: 0 is the wrist, then four joints per finger from thumb to little
finger, from base to tip.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoflow.geometry.hands.hand_sides import PALM
from geoflow.geometry.rigid import skew

NUM_JOINTS = 21
_WRIST, _INDEX_MCP, _MIDDLE_MCP, _LITTLE_MCP = 0, 5, 9, 17
# Where the scene's depth is sampled: along the palm's rays and the lower finger bones, well inside the silhouette.
_SAMPLED = (*PALM[:4], (1, 2), (5, 6), (9, 10), (13, 14), (17, 18))

MIN_DEPTH_M = 0.05
MAX_RESIDUAL = 0.15  # of the hand's size in the image; above it, shape and pixels do not belong to one hand


def locate(shape_m: np.ndarray, uv: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, float]:
    """Place a hand of known shape where its pixels are: perspective n-point with a prior on the rotation.

    The rotation stays close to the one in which the detector saw the hand: its camera-parallel axes turned onto the ray
    through the hand. A hand is nearly flat, so the plain problem has two solutions that mirror each other in depth; the
    prior picks the one that the network saw. Minimised by Levenberg-Marquardt from the scaled-orthographic solution
    (Hartley & Zisserman 2004, A6.2).

    shape_m    (21, 3) metres about the hand's centre, camera-parallel axes
    uv         (21, 2) px
    intrinsics (3, 3)

    Returns the joints (21, 3) float64 in the camera frame, metres, and the root mean square reprojection error as a
    share of the hand's size in the image. They are NaN and infinity if the hand would be at or behind the camera.
    """
    shape = np.asarray(shape_m, np.float64)
    k = np.asarray(intrinsics, np.float64)
    rays = (np.c_[uv, np.ones(len(uv))] @ np.linalg.inv(k).T)[:, :2]
    centre = rays.mean(0)
    base = _turn_axis_to(np.append(centre, 1.0))
    spread = np.sqrt(((shape - shape.mean(0))[:, :2] ** 2).sum() / max(((rays - centre) ** 2).sum(), 1e-18))
    pose = np.array([0, 0, 0, *(spread * np.append(centre, 1.0) - base @ shape.mean(0))])
    size = float(np.linalg.norm(np.ptp(rays, axis=0)))
    sigma = 0.02 * size  # about how well the two heads of the network agree
    xyz, best = _refine(pose, base, shape, rays, sigma)
    if not np.isfinite(best) or xyz[:, 2].min() < MIN_DEPTH_M:
        return np.full((len(shape), 3), np.nan), np.inf
    error = xyz[:, :2] / xyz[:, 2:] - rays
    return xyz, float(np.sqrt((error**2).sum(1).mean()) / size)


def _refine(
    pose: np.ndarray, base: np.ndarray, shape: np.ndarray, rays: np.ndarray, sigma: float, prior_rad: float = 0.10
) -> tuple[np.ndarray, float]:
    """Minimise by Levenberg-Marquardt over a rotation vector on top of `base` and a translation.

    Returns points and cost.
    """
    damping, turned = 1e-3, shape @ base.T

    def evaluate(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = turned @ _rotation(x[:3]).T + x[3:]
        z = np.maximum(points[:, 2:], 1e-3)
        return points, np.r_[((points[:, :2] / z - rays) / sigma).ravel(), x[:3] / prior_rad]

    points, residual = evaluate(pose)
    cost = float(residual @ residual)
    for _ in range(30):
        jacobian = _jacobian(points, pose[3:], sigma, prior_rad)
        hessian, gradient = jacobian.T @ jacobian, jacobian.T @ residual
        step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian) + 1e-12), gradient)
        # The Jacobian is for turns about the current rotation: rotations are composed, not added.
        trial = np.r_[_rotation_vector(_rotation(-step[:3]) @ _rotation(pose[:3])), pose[3:] - step[3:]]
        new_points, new_residual = evaluate(trial)
        new_cost = float(new_residual @ new_residual)
        if new_cost < cost:
            converged = cost - new_cost < 1e-6 * cost + 1e-12
            pose, points, residual, cost, damping = trial, new_points, new_residual, new_cost, damping * 0.3
            if converged:
                break
        else:
            damping *= 10
            if damping > 1e8:
                break
    return points, cost


def _jacobian(points: np.ndarray, translation: np.ndarray, sigma: float, prior_rad: float) -> np.ndarray:
    """Return the derivative of the residuals by a small turn about the hand's centre and a shift: (2 N + 3, 6)."""
    x, y, z = points[:, 0], points[:, 1], np.maximum(points[:, 2], 1e-3)
    zero = np.zeros_like(x)
    by_point = np.stack([np.stack([1 / z, zero, -x / z**2], -1), np.stack([zero, 1 / z, -y / z**2], -1)], 1) / sigma
    a, b, c = (points - translation).T
    by_turn = np.stack([np.stack([zero, c, -b], -1), np.stack([-c, zero, a], -1), np.stack([b, -a, zero], -1)], 1)
    data = np.concatenate([by_point @ by_turn, by_point], -1).reshape(-1, 6)
    return np.r_[data, np.c_[np.eye(3) / prior_rad, np.zeros((3, 3))]]


def _rotation(vector: np.ndarray) -> np.ndarray:
    """Rodrigues' formula: (3,) axis-angle to (3, 3)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    cross = skew(vector / angle)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """Return the inverse of `_rotation`, for turns well below half a circle (the prior keeps them there)."""
    off = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]) / 2
    sine = float(np.linalg.norm(off))
    angle = float(np.arctan2(sine, (np.trace(matrix) - 1) / 2))
    return off if sine < 1e-12 else off / sine * angle


def _turn_axis_to(ray: np.ndarray) -> np.ndarray:
    """Return the smallest rotation from the optical axis to a ray in front of the camera."""
    axis = np.cross([0.0, 0.0, 1.0], ray)
    sine = float(np.linalg.norm(axis))
    return np.eye(3) if sine < 1e-12 else _rotation(axis / sine * np.arctan2(sine, ray[2]))


def wrist_pose(joints: np.ndarray, side: str) -> np.ndarray:
    """cam_from_wrist: (21, 3) joints in the camera frame to (4, 4) float64, in the joints' unit.

    Origin: the wrist joint. x: from the wrist to the middle finger's base. z: out of the palm, perpendicular to x. y =
    z × x: towards the little finger on a right hand, towards the thumb on a left hand; both frames are right-handed.
    NaN if the palm is degenerate.
    """
    wrist = joints[_WRIST]
    forward = joints[_MIDDLE_MCP] - wrist
    normal = np.cross(joints[_INDEX_MCP] - wrist, joints[_LITTLE_MCP] - wrist)
    if side == "left":
        normal = -normal
    with np.errstate(invalid="ignore", divide="ignore"):
        x = forward / np.linalg.norm(forward)
        normal = normal - (normal @ x) * x
        z = normal / np.linalg.norm(normal)
    pose = np.eye(4)
    pose[:3] = np.stack([x, np.cross(z, x), z, wrist], axis=1)
    return pose


def scene_scale(
    placed: Sequence[tuple[int, np.ndarray, np.ndarray]],
    depth: np.ndarray,
    *,
    depth_offset_m: float = 0.0,
    min_samples: int = 40,
    max_spread: float = 0.25,
) -> float | None:
    """Return scene units per metre: the scene's depth at the hands over the hands' own metric depth.

    placed: (frame, joints (21, 3) metres, uv (21, 2) px) of every hand found
    depth:  (T, H, W), 0 where unknown
    depth_offset_m: distance of the joints behind the skin, which the depth maps show

    Each hand gives one ratio, the median over samples along the palm and the lower finger bones; the segment's is the
    median over the hands. None if fewer than `min_samples` pixels have a depth, or if the middle half of the hands'
    ratios is spread over more than `max_spread` of their median. In that case the depth is not that of the hands: they
    moved while the rest stood still, or the background shows through.
    """
    ratios: list[float] = []
    total = 0
    height, width = depth.shape[1:]
    for frame, joints, uv in placed:
        points, metres = depth_samples(uv, joints[:, 2])
        column, row = np.rint(points).astype(int).T
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        scene = depth[frame, row[inside], column[inside]].astype(np.float64)
        known = np.isfinite(scene) & (scene > 0)
        total += int(known.sum())
        if known.sum() >= 0.25 * len(points):
            skin = np.maximum(metres[inside][known] - depth_offset_m, MIN_DEPTH_M)
            ratios.append(float(np.median(scene[known] / skin)))
    if total < min_samples or not ratios:
        return None
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    return None if high - low > max_spread * middle else float(middle)


def depth_samples(uv: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points between joints, well inside a hand: (M, 2) px, and its own depth there, (M,)."""
    at = np.linspace(0.15, 0.85, 6)[:, None]
    points = np.concatenate([uv[a] + at * (uv[b] - uv[a]) for a, b in _SAMPLED])
    depth = np.concatenate([z[a] + at[:, 0] * (z[b] - z[a]) for a, b in _SAMPLED])
    return points, depth
