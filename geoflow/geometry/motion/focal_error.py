"""How well the pictures tell the focal length: its uncertainty beside poses and points that are free, too.

In an adjustment the focal length, the distances and the motion can often make up for each other, so the misfit alone
says little. Here all of them are free: poses and points are eliminated from the normal equations (Schur complement;
Triggs et al. 2000, "Bundle adjustment - a modern synthesis"), and what is left is what the pictures say of the lens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

UNSURE_FOCAL = 0.1  # above it, whoever uses the cameras must be warned
MOST_FOCAL_ERROR = 1.0  # stands for anything above: the pictures tell nothing
_LEAST_POINTS, _LEAST_VIEWS = 25, 3  # points; views of each: two views fit almost any motion
_MOST_POINTS = 2000  # an even sample of more; its variance is scaled
_OUTLIER_PX = 2.0  # an observation further off belongs to something that moves, or to another point
_CHUNK = 96  # points that are eliminated at a time
_RIDGE = 1e-9  # of each unknown's own weight: fixes the world's place and scale, which no picture tells
_POSE = 6  # unknowns of a camera: turn, then shift
_LENS = 2  # log focal length and k1: a lens that seems straight may still be bent a little
# Measured on films and real clips with known lenses, see docs/accuracy.md: neighbouring tracks err alike, and no real
# lens is exactly as assumed (principal point, rolling shutter).
_TOO_SMALL = 1.4
_LEAST = 0.01


@dataclass(frozen=True)
class PosedPoints:
    """Observations of M points in K views, with the cameras and places that explain them."""

    uv: np.ndarray  # (K, M, 2) px; NaN where a point is not seen
    intrinsics: np.ndarray  # (3, 3) px
    radial: float  # k1
    cam_from_world: np.ndarray  # (K, 4, 4)
    xyz: np.ndarray  # (M, 3); NaN where unknown


def focal_error(posed: PosedPoints) -> float:
    """Return the standard deviation of the focal length, relative to it; inf if the points tell nothing of it.

    The observations of a track count as one, whatever their correlation (a sandwich over clusters; Liang and Zeger
    1986): a track drifts, so its errors are alike.
    """
    uv = np.where(_fitting(posed)[..., None], posed.uv, np.nan).astype(np.float64)
    points = np.flatnonzero(np.isfinite(uv[..., 0]).sum(0) >= _LEAST_VIEWS)
    if len(points) < _LEAST_POINTS:
        return np.inf
    some = points[np.unique(np.linspace(0, len(points) - 1, _MOST_POINTS).astype(int))]
    posed = replace(posed, uv=uv[:, some], xyz=posed.xyz[some])
    found = _deviation(posed) * np.sqrt(len(some) / len(points))
    return float(np.hypot(_TOO_SMALL * found, _LEAST))


def _fitting(posed: PosedPoints) -> np.ndarray:
    """Return which observations (K, M) their points explain."""
    here = np.einsum("kij,mj->kmi", posed.cam_from_world[:, :3, :3], posed.xyz) + posed.cam_from_world[:, None, :3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        x = here[..., :2] / here[..., 2:]
        bent = x * (1 + posed.radial * (x**2).sum(-1, keepdims=True))
        off = np.linalg.norm(bent * np.diag(posed.intrinsics)[:2] + posed.intrinsics[:2, 2] - posed.uv, axis=-1)
        return (off < _OUTLIER_PX) & (here[..., 2] > 0)


def _deviation(posed: PosedPoints) -> float:
    """Return the standard deviation of log focal length, by the sandwich; inf if the equations cannot be solved."""
    seen = np.isfinite(posed.uv[..., 0])
    terms = _linearised(posed, seen)
    order = np.argsort(seen.argmax(0), kind="stable")  # neighbours share their views
    count = len(seen) * _POSE + _LENS
    normal, scores = np.zeros((count, count)), []
    for first in range(0, len(order), _CHUNK):
        rows, gained, score = _reduced(terms, order[first : first + _CHUNK], count)
        normal[np.ix_(rows, rows)] += gained
        scores.append((rows, score))
    size = np.sqrt(np.maximum(np.diag(normal), 1e-12))
    unit = np.zeros(count)
    unit[-_LENS] = 1 / size[-_LENS]
    try:
        influence = np.linalg.solve(normal / size / size[:, None] + _RIDGE * np.eye(count), unit) / size
    except np.linalg.LinAlgError:
        return np.inf
    variance = sum(float(((influence[rows] @ score) ** 2).sum()) for rows, score in scores)
    return float(np.sqrt(variance)) if np.isfinite(variance) else np.inf


@dataclass(frozen=True)
class _Linear:
    """Residuals and their derivatives, weighted; zero where nothing is seen."""

    seen: np.ndarray  # (K, M)
    residual: np.ndarray  # (K, M, 2)
    pose: np.ndarray  # (K, M, 2, 6)
    point: np.ndarray  # (K, M, 2, 3)
    lens: np.ndarray  # (K, M, 2, 2): log focal length, k1


def _linearised(posed: PosedPoints, seen: np.ndarray) -> _Linear:
    turn, focal, radial = posed.cam_from_world[:, :3, :3], np.diag(posed.intrinsics)[:2], posed.radial
    here = np.einsum("kij,mj->kmi", turn, posed.xyz) + posed.cam_from_world[:, None, :3, 3]
    x, y, z = np.moveaxis(here, -1, 0)
    depth = np.where(seen, z, 1.0)[..., None]
    flat = here[..., :2] / depth
    r2 = (flat**2).sum(-1, keepdims=True)
    bent = flat * (1 + radial * r2)
    residual = bent * focal + posed.intrinsics[:2, 2] - posed.uv
    by_flat = (1 + radial * r2)[..., None] * np.eye(2) + 2 * radial * flat[..., :, None] * flat[..., None, :]
    onto = np.concatenate([np.broadcast_to(np.eye(2), by_flat.shape), -flat[..., None]], -1) / depth[..., None]
    by_here = focal[:, None] * by_flat @ onto  # (K, M, 2, 3)
    zero = np.zeros_like(x)
    turned = np.stack([zero, z, -y, -z, zero, x, y, -x, zero], -1).reshape(*x.shape, 3, 3)  # d(turn here)
    by_pose = np.concatenate([by_here @ turned, by_here], -1)
    by_point = np.einsum("kmai,kij->kmaj", by_here, turn)
    by_lens = np.stack([bent * focal, flat * r2 * focal], -1)
    length = np.linalg.norm(np.where(seen[..., None], residual, 0), axis=-1)
    weight = seen * (1 + length**2) ** -0.25  # square root of the weight that the mapper's loss, soft L1, gives
    return _Linear(seen, *(_weighted(part, weight) for part in (residual, by_pose, by_point, by_lens)))


def _weighted(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    weight = weight.reshape(*weight.shape, *[1] * (values.ndim - 2))
    return np.where(weight > 0, values * weight, 0.0)


def _reduced(terms: _Linear, points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what P points add to the normal equations of poses and lens after the points' own places are eliminated.

    rows (R,): the unknowns concerned; the part of the equations (R, R); the points' scores (R, P).
    """
    views = np.flatnonzero(terms.seen[:, points].any(1))
    at = np.ix_(views, points)
    residual, pose, point, lens = terms.residual[at], terms.pose[at], terms.point[at], terms.lens[at]
    rows = np.concatenate([(views[:, None] * _POSE + np.arange(_POSE)).ravel(), np.arange(count - _LENS, count)])
    blocks = len(views) * _POSE
    own = np.zeros((len(rows), len(rows)))
    sides = np.einsum("kmai,kmaj->kij", pose, lens).reshape(blocks, _LENS)
    own[:blocks, -_LENS:], own[-_LENS:, :blocks] = sides, sides.T
    own[-_LENS:, -_LENS:] = np.einsum("kmai,kmaj->ij", lens, lens)
    for k, block in enumerate(np.einsum("kmai,kmaj->kij", pose, pose)):
        part = slice(k * _POSE, (k + 1) * _POSE)
        own[part, part] = block
    place = np.einsum("kmai,kmaj->mij", point, point)
    place += (1e-9 * np.trace(place, axis1=1, axis2=2) + 1e-12)[:, None, None] * np.eye(3)
    between = _by_unknown(np.einsum("kmai,kmaj->kimj", pose, point), np.einsum("kmai,kmaj->imj", lens, point))
    away = np.einsum("rmi,mij->rmj", between, np.linalg.inv(place))
    score = _by_unknown(np.einsum("kmai,kma->kim", pose, residual), np.einsum("kmai,kma->im", lens, residual))
    score -= np.einsum("rmi,mi->rm", away, np.einsum("kmai,kma->mi", point, residual))
    return rows, own - away.reshape(len(rows), -1) @ between.reshape(len(rows), -1).T, score


def _by_unknown(of_poses: np.ndarray, of_lens: np.ndarray) -> np.ndarray:
    """Return rows for the unknowns of K poses (K, 6, ...) and, behind them, of the lens (2, ...)."""
    return np.concatenate([of_poses.reshape(-1, *of_poses.shape[2:]), of_lens])
