"""Relative motion of two views from point correspondences: essential matrix, rotation alone, unknown focal length.

Everything here is batched over P pairs of views with N correspondences each, so that a whole segment's pairs
(times a grid of focal lengths) are solved at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np

from geoflow.geometry.depth.depth_order import rank_correlation
from geoflow.geometry.rigid import skew

# Residuals far beyond the noise of dense flow (0.2-0.4 px) stop counting: scale of the Geman-McClure function.
ROBUST_PX = 0.6
RANSAC_PX = (0.3, 1.0)  # inlier thresholds tried
BEHIND_PX = 1.0  # parallax from which a match behind the camera is no noise
MOST_BEHIND = 0.03  # share of them beyond which near and far may be exchanged
LEAST_LEAD = 0.02  # of the robust cost of a motion over its mirrored counterpart's; with less, either may be right
LEAST_SHOWN = 12  # matches with parallax; of fewer, one behind the camera does not count much
# Focal lengths in units of the longer image side, i.e. horizontal fields of view of 120 to 25 degrees.
FOCAL_GRID = np.geomspace(0.29, 2.25, 13)
# Phones, webcams and camcorders lie at 50-75 degrees. The prior only matters where the motion says nothing.
FOCAL_PRIOR, FOCAL_PRIOR_SIGMA = 0.85, 0.35


@dataclass(frozen=True)
class PairMotion:
    """Motion of P pairs: `rotation` (P, 3, 3) and unit `translation` (P, 3), x_b ~ R x_a + t / depth."""

    rotation: np.ndarray
    translation: np.ndarray
    cost: np.ndarray  # (P,) mean Geman-McClure cost of the Sampson distance, 0 (perfect) to 1
    error_px: np.ndarray  # (P,) median Sampson distance

    def __getitem__(self, rows: np.ndarray) -> PairMotion:
        return PairMotion(self.rotation[rows], self.translation[rows], self.cost[rows], self.error_px[rows])


@dataclass(frozen=True)
class PairDepths:
    """Depth of the matches of P pairs."""

    inverse: np.ndarray  # (P, N) inverse depth in view a, per baseline
    parallax: np.ndarray  # (P, N) px
    translation: np.ndarray  # (P, 3) of the sign that puts the median match in front

    def share_behind(self, weight: np.ndarray) -> np.ndarray:
        """Return the share (P,) of matches behind the camera, among those of weight (P, N) above 0 with parallax.

        A right motion has hardly any. If near and far are exchanged, because the focal length is wrong, the farthest
        points are pushed beyond infinity.
        """
        shown = (weight > 0) & (self.parallax > BEHIND_PX)
        return (shown & (self.inverse < 0)).sum(1) / np.maximum(shown.sum(1), LEAST_SHOWN)


def rays(uv: np.ndarray, focal: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Rays (P, 3, N) with z = 1 of pixels (P, N, 2), with one focal per pair (P,) and a shared centre (2,)."""
    out = np.ones((len(uv), 3, uv.shape[1]))
    out[:, :2] = np.swapaxes(uv - center, 1, 2) / focal[:, None, None]
    return out


def robust_weight(residual: np.ndarray) -> np.ndarray:
    """Geman-McClure weight of residuals in px."""
    return 1 / (1 + (residual / ROBUST_PX) ** 2) ** 2


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product along axis 1; np.cross moves axes about and is several times slower."""
    return np.stack(
        [
            a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1],
            a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2],
            a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0],
        ],
        axis=1,
    )


@dataclass(frozen=True)
class _Fit:
    """Motions with the signed first-order epipolar distance of their matches (Hartley & Zisserman, eq. 11.9)."""

    rotation: np.ndarray  # (P, 3, 3)
    translation: np.ndarray  # (P, 3)
    residual: np.ndarray  # (P, N) px
    norm: np.ndarray  # (P, N) what the algebraic error was divided by
    turned: np.ndarray  # (P, 3, N) R x_a
    moment: np.ndarray  # (P, 3, N) x_b cross t
    cost: np.ndarray  # (P,)


def _fit(ray_a, ray_b, weight, focal, rotation, translation) -> _Fit:
    turned = rotation @ ray_a
    shift = translation[:, :, None]
    line_b = _cross(shift, turned)
    moment = _cross(ray_b, shift)
    line_a = np.swapaxes(rotation, 1, 2)[:, :2] @ moment
    squared = line_b[:, 0] ** 2 + line_b[:, 1] ** 2 + line_a[:, 0] ** 2 + line_a[:, 1] ** 2
    norm = np.sqrt(squared) / focal[:, None] + 1e-12
    residual = (ray_b * line_b).sum(1) / norm
    square = residual**2
    cost = (weight * square / (square + ROBUST_PX**2)).sum(1) / (weight.sum(1) + 1e-12)
    return _Fit(rotation, translation, residual, norm, turned, moment, cost)


def refine_motion(
    uv_a: np.ndarray,
    uv_b: np.ndarray,
    weight: np.ndarray,
    focal: np.ndarray,
    center: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
    iterations: int = 12,
) -> PairMotion:
    """Minimise the robust Sampson distance over rotation and direction of translation (Gauss-Newton, damped).

    Pixels (P, N, 2) with weights (P, N); starting points (P, 3, 3), (P, 3).
    """
    ray_a, ray_b = rays(uv_a, focal, center), rays(uv_b, focal, center)
    best = _fit(ray_a, ray_b, weight, focal, rotation, translation)
    damping = np.full(len(focal), 1e-4)
    for _ in range(iterations):
        tangent = _tangent(best.translation)
        slide = np.swapaxes(tangent, 1, 2) @ _cross(best.turned, ray_b)
        jacobian = np.concatenate([_cross(best.turned, best.moment), slide], axis=1) / best.norm[:, None]
        weighted = jacobian * (robust_weight(best.residual) * weight)[:, None]
        normal = weighted @ np.swapaxes(jacobian, 1, 2)
        gradient = weighted @ best.residual[..., None]
        ridge = (np.diagonal(normal, axis1=1, axis2=2) * damping[:, None] + 1e-9)[..., None] * np.eye(5)
        step = -np.linalg.solve(normal + ridge, gradient)
        moved = best.translation + (tangent @ step[:, 3:])[..., 0]
        moved /= np.linalg.norm(moved, axis=-1, keepdims=True)
        trial = _fit(ray_a, ray_b, weight, focal, rotation_exp(step[:, :3, 0]) @ best.rotation, moved)
        better = trial.cost < best.cost
        damping = np.clip(np.where(better, damping / 5, damping * 10), 1e-7, 1e3)
        settled = bool((best.cost - trial.cost < 1e-6).all())
        best = _choose(better, trial, best)
        if settled and bool(better.all()):
            break
    return PairMotion(best.rotation, best.translation, best.cost, masked_median(np.abs(best.residual), weight))


def inverse_depths(
    uv_a: np.ndarray,
    uv_b: np.ndarray,
    focal: np.ndarray,
    center: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
) -> PairDepths:
    """Return where the matches of P pairs lie, with the sign of translation that puts most in front of the camera."""
    ray_b = rays(uv_b, focal, center)
    moment = _cross(ray_b, translation[:, :, None])
    power = (moment * moment).sum(1)
    inverse = -(_cross(ray_b, rotation @ rays(uv_a, focal, center)) * moment).sum(1) / np.maximum(power, 1e-12)
    sign = np.where(np.median(inverse, axis=1) < 0, -1.0, 1.0)[:, None]
    return PairDepths(sign * inverse, np.abs(inverse) * np.sqrt(power) * focal[:, None], sign * translation)


def mirrored_motion(rotation: np.ndarray, depths: PairDepths) -> tuple[np.ndarray, np.ndarray]:
    """Return the motions (P, 3, 3), (P, 3) under which the same matches show a relief with near and far exchanged.

    Seen through a long lens, a relief mirrored at its mean depth that turns the other way makes nearly the same picture
    (Necker reversal). `depths` are those under `rotation` (P, 3, 3).
    """
    mirror = np.diag([1.0, 1.0, -1.0])
    turned = mirror @ rotation @ mirror
    middle = np.median(np.abs(depths.inverse), axis=1)[:, None]
    pivot = np.array([[0, 0, 1.0]]) / np.maximum(middle, 1e-6)
    moved = depths.translation + ((rotation - turned) @ pivot[..., None])[..., 0]
    return turned, moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)


def _choose(better: np.ndarray, trial: _Fit, best: _Fit) -> _Fit:
    """Take the trial in each row where it is better."""
    if better.all():
        return trial

    def pick(name: str) -> np.ndarray:
        a, b = getattr(trial, name), getattr(best, name)
        return np.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return _Fit(*(pick(f.name) for f in fields(_Fit)))


def masked_median(values: np.ndarray, weight: np.ndarray, least: int = 12) -> np.ndarray:
    """Median of each row of (P, N) over weights above 0; 0 for rows with fewer than `least` of them."""
    counted = weight > 0
    ordered = np.sort(np.where(counted, values, np.inf), axis=1)
    number = counted.sum(1)
    middle = np.stack([np.maximum(number - 1, 0) // 2, np.minimum(number // 2, values.shape[1] - 1)], 1)
    return np.where(number >= least, np.take_along_axis(ordered, middle, axis=1).mean(1), 0.0)


def _tangent(direction: np.ndarray) -> np.ndarray:
    """Two unit vectors (P, 3, 2) orthogonal to each direction (P, 3)."""
    helper = np.where(np.abs(direction[:, :1]) < 0.7, [[1.0, 0, 0]], [[0, 1.0, 0]])
    first = np.cross(direction, helper)
    first /= np.linalg.norm(first, axis=-1, keepdims=True)
    return np.stack([first, np.cross(direction, first)], axis=-1)


def fit_rotation(
    uv_a: np.ndarray, uv_b: np.ndarray, weight: np.ndarray, focal: np.ndarray, center: np.ndarray, iterations: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Best pure rotation of each pair: matrices (P, 3, 3) and residuals (P, N) in px.

    The residual that no rotation explains is the parallax that triangulation needs.
    """
    ray_a = rays(uv_a, focal, center)
    target = np.swapaxes(uv_b - center, 1, 2)
    rotation = np.tile(np.eye(3), (len(focal), 1, 1))
    distance = np.zeros(weight.shape)
    spread = 16.0  # starts wide, so that large turns are found from the identity, and narrows
    for step_index in range(iterations + 1):
        turned = rotation @ ray_a
        z = np.maximum(turned[:, 2], 0.05)
        x, y = turned[:, 0] / z, turned[:, 1] / z
        error_x, error_y = focal[:, None] * x - target[:, 0], focal[:, None] * y - target[:, 1]
        distance = np.hypot(error_x, error_y)
        if step_index == iterations:
            break
        row_x = np.stack([-x * y, 1 + x * x, -y], axis=1)
        row_y = np.stack([-1 - y * y, x * y, x], axis=1)
        w = (weight / (1 + (distance / spread) ** 2))[:, None]
        normal = (row_x * w) @ np.swapaxes(row_x, 1, 2) + (row_y * w) @ np.swapaxes(row_y, 1, 2)
        gradient = (row_x * w) @ error_x[..., None] + (row_y * w) @ error_y[..., None]
        step = -np.linalg.solve(normal + 1e-9 * np.eye(3), gradient / focal[:, None, None])[..., 0]
        rotation = rotation_exp(step) @ rotation
        spread = max(spread / 2, 1.0)
    return rotation, distance


def initial_motion(
    uv_a: np.ndarray, uv_b: np.ndarray, weight: np.ndarray, intrinsics: np.ndarray, threshold_px: float = 0.5
) -> tuple[np.ndarray, np.ndarray] | None:
    """Five-point RANSAC (Nister 2004) for one pair: rotation (3, 3) and unit translation (3,) of unknown sign.

    An essential matrix allows two rotations half a turn apart; views of a video differ by the smaller one. None if
    there are too few matches.
    """
    keep = weight > 0
    if keep.sum() < 12:
        return None
    a, b, k = uv_a[keep].astype(np.float64), uv_b[keep].astype(np.float64), intrinsics.astype(np.float64)
    essential, _ = cv2.findEssentialMat(a, b, k, cv2.USAC_DEFAULT, 0.99, threshold_px, 300)
    if essential is None or essential.shape[0] < 3:
        return None
    first, second, translation = cv2.decomposeEssentialMat(essential[:3])
    return (first if np.trace(first) > np.trace(second) else second), translation[:, 0]


def find_motion(
    uv_a: np.ndarray,
    uv_b: np.ndarray,
    weight: np.ndarray,
    intrinsics: np.ndarray,
    guesses: Sequence[tuple[np.ndarray, np.ndarray]] = (),
) -> PairMotion | None:
    """Motion (P = 1) of one pair, matches (N, 2) and weights (N,): the best of several refined starts.

    The robust error has local minima that confuse turning with moving sideways. So RANSAC starts with a strict and with
    a lenient threshold, and the caller may add guesses (the motion of the frames before). None if no start works.
    """
    tries = [initial_motion(uv_a, uv_b, weight, intrinsics, threshold) for threshold in RANSAC_PX]
    starts = [start for start in tries if start is not None] + list(guesses)
    if not starts:
        return None
    count = len(starts)
    rotation, translation = (np.stack(part) for part in zip(*starts))
    a, b, w = (np.repeat(values[None], count, axis=0) for values in (uv_a, uv_b, weight))
    focal, center = np.full(count, float(intrinsics[0, 0])), intrinsics[:2, 2].astype(np.float64)
    motion = refine_motion(a, b, w, focal, center, rotation, translation)
    return motion[np.array([motion.cost.argmin()])]


def told_from_mirrored(
    uv_a: np.ndarray, uv_b: np.ndarray, weight: np.ndarray, intrinsics: np.ndarray, motion: PairMotion
) -> PairMotion | None:
    """Return the motion (P = 1) of one pair, or its mirrored counterpart if that explains the matches better.

    Matches (N, 2), weights (N,). Matches behind the camera count as unexplained. None if the two explain them about
    equally well, or the better one still has too many behind the camera: the order of depth is then not known.
    """
    a, b, w = uv_a[None], uv_b[None], weight[None]
    focal, center = np.array([float(intrinsics[0, 0])]), intrinsics[:2, 2].astype(np.float64)
    depths = inverse_depths(a, b, focal, center, motion.rotation, motion.translation)
    other = refine_motion(a, b, w, focal, center, *mirrored_motion(motion.rotation, depths), 20)
    other_depths = inverse_depths(a, b, focal, center, other.rotation, other.translation)
    behind, other_behind = depths.share_behind(w)[0], other_depths.share_behind(w)[0]
    lead = float(other.cost[0] + other_behind - motion.cost[0] - behind)
    both = weight > 0
    if abs(lead) < LEAST_LEAD and rank_correlation(depths.inverse[0, both], other_depths.inverse[0, both]) < 0:
        return None
    better, share = (other, other_behind) if lead < 0 else (motion, behind)
    return better if share <= MOST_BEHIND else None


def rotation_exp(vector: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of axis-angle vectors (..., 3) in rad (Rodrigues)."""
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    matrix = skew(vector)
    safe = np.maximum(angle, 1e-12)
    return np.eye(3) + np.sin(safe) / safe * matrix + (1 - np.cos(safe)) / safe**2 * (matrix @ matrix)
