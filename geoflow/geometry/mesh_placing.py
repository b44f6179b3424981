"""A mesh of unknown size and pose, placed where a depth map shows its front.

Points are matched to the nearest ones first, trimmed (Chetverikov et al. 2002). This alone shrinks the mesh, since
points that it lacks have the nearest match at its rim. So a second step moves it along its normals (Chen and Medioni
1991) with pairs both ways. Only the side that faces the camera is matched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from geoflow.geometry.mesh import surface_points
from geoflow.geometry.rigid import Sim3, umeyama

_MESH_POINTS, _SEEN_POINTS = 4000, 1500  # enough for a surface; more only take time
_KEPT = 0.8  # share of nearest pairs that count
_COARSE_STEPS, _FINE_STEPS = 20, 25
_LEAST_SEEN = 50  # points, below which nothing can be told
_RADIUS = 95  # percent of the points that are nearer to the middle than the size says
_FACING = 0.35  # cosine to the view: what is steeper lies at the outline, of which a depth map tells little
_WORST = 0.9  # share of pairs that the residual covers
_HUBER = 1.345  # of the deviation: the usual 95 % efficiency for normal errors
_STILL = 1e-5  # of the size: a step below it is the last


@dataclass(frozen=True)
class Placement:
    """Where a mesh lies, and how well it fits."""

    cam_from_mesh: Sim3
    residual: float  # 90 % of matched points are nearer to the mesh's front, as a share of its radius


@dataclass(frozen=True)
class _Front:
    """Points of the mesh and its outward normals, (M, 3) each, in the mesh's frame."""

    points: np.ndarray
    normals: np.ndarray

    def facing(self, pose: Sim3, middle: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers, places and normals in the camera frame of what faces a camera that looks at `middle`."""
        normals = self.normals @ pose.rotation.T
        numbers = np.flatnonzero(normals @ middle < -_FACING * np.linalg.norm(middle))
        return numbers, pose.apply(self.points[numbers]), normals[numbers]


def place_mesh(
    seen: np.ndarray, vertices: np.ndarray, faces: np.ndarray, starts: Iterable[np.ndarray]
) -> Placement | None:
    """Return the placement with the least residual that any start leads to; None if too little is seen.

    seen: (K, 3) points of the object in the camera frame, from a depth map · vertices (V, 3) and faces (F, 3) of the
    mesh, in any unit · starts: rotations (3, 3) cam_from_mesh; one of them should be within 30 degrees of the truth.
    """
    seen = _thinned(np.asarray(seen, np.float64))
    front = _front(vertices, faces)
    if len(seen) < _LEAST_SEEN or not len(front.points):
        return None
    placed = [_place_from(seen, front, np.asarray(start, np.float64)) for start in starts]
    return min((one for one in placed if one is not None), key=lambda one: one.residual, default=None)


def _thinned(seen: np.ndarray) -> np.ndarray:
    seen = seen[np.isfinite(seen).all(1)]
    chosen = np.random.default_rng(0).permutation(len(seen))[:_SEEN_POINTS]
    return seen[np.sort(chosen)]


def _front(vertices: np.ndarray, faces: np.ndarray) -> _Front:
    corners, weights = surface_points(vertices, faces, _MESH_POINTS)
    a, b, c = (vertices[corners[:, k]].astype(np.float64) for k in range(3))
    normals = np.cross(b - a, c - a)
    length = np.linalg.norm(normals, axis=1)
    whole = length > 0
    points = np.stack([a, b, c], 1) * weights[..., None]
    return _Front(points.sum(1)[whole], normals[whole] / length[whole, None])


def _place_from(seen: np.ndarray, front: _Front, rotation: np.ndarray) -> Placement | None:
    middle = np.median(seen, axis=0)
    pose = _start(seen, front, rotation, middle)
    if pose is None:
        return None
    tree = cKDTree(seen)
    for _ in range(_COARSE_STEPS):
        numbers, places, _ = front.facing(pose, middle)
        if len(numbers) < _LEAST_SEEN:
            return None
        distance, nearest = cKDTree(places).query(seen)
        kept = distance <= np.quantile(distance, _KEPT)
        pose = umeyama(front.points[numbers[nearest[kept]]], seen[kept])
    for _ in range(_FINE_STEPS):
        moved = _along_normals(seen, tree, front, pose, middle)
        if moved is None:
            return None
        pose, step = moved
        if step < _STILL:
            break
    return Placement(pose, _residual(seen, tree, front, pose, middle))


def _start(seen: np.ndarray, front: _Front, rotation: np.ndarray, middle: np.ndarray) -> Sim3 | None:
    """The pose with this rotation, whose front has the size and the middle of what is seen, across the view."""
    _, places, _ = front.facing(Sim3(1.0, rotation, np.zeros(3)), middle)
    if len(places) < _LEAST_SEEN:
        return None
    view = middle / np.linalg.norm(middle)
    middles = [np.median(points, axis=0) for points in (seen, places)]
    radii = [
        np.percentile(np.linalg.norm(np.cross(points - mid, view), axis=1), _RADIUS)
        for points, mid in zip((seen, places), middles)
    ]
    if not min(radii) > 0:
        return None
    scale = float(radii[0] / radii[1])
    return Sim3(scale, rotation, middles[0] - scale * middles[1])


def _pairs(
    seen: np.ndarray, tree: cKDTree, front: _Front, pose: Sim3, middle: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Places on the mesh, their normals, and the seen points they belong to, (P, 3) each; nearest ones both ways."""
    numbers, places, normals = front.facing(pose, middle)
    if len(numbers) < _LEAST_SEEN:
        return None
    there, nearest = cKDTree(places).query(seen)
    back, mine = tree.query(places)
    kept, kept_back = there <= np.quantile(there, _KEPT), back <= np.quantile(back, _KEPT)
    return (
        np.concatenate([places[nearest[kept]], places[kept_back]]),
        np.concatenate([normals[nearest[kept]], normals[kept_back]]),
        np.concatenate([seen[kept], seen[mine[kept_back]]]),
    )


def _along_normals(
    seen: np.ndarray, tree: cKDTree, front: _Front, pose: Sim3, middle: np.ndarray
) -> tuple[Sim3, float] | None:
    """One robust Gauss-Newton step over turn, scale and place; the new pose, and how far it went, per radius."""
    pairs = _pairs(seen, tree, front, pose, middle)
    if pairs is None:
        return None
    places, normals, targets = pairs
    gap = ((places - targets) * normals).sum(1)
    spread = 1.4826 * np.median(np.abs(gap)) + 1e-12
    weight = np.minimum(1, _HUBER * spread / np.maximum(np.abs(gap), 1e-12))
    arm = places - middle
    radius = float(np.percentile(np.linalg.norm(arm, axis=1), _RADIUS)) + 1e-12
    rows = np.concatenate([np.cross(arm, normals), (arm * normals).sum(1)[:, None], normals * radius], axis=1) / radius
    normal_matrix = rows.T @ (rows * weight[:, None])
    normal_matrix += 1e-6 * np.trace(normal_matrix) / 7 * np.eye(7)  # round bodies leave turns undecided
    step = -np.linalg.solve(normal_matrix, rows.T @ (gap * weight)) / radius
    turn, factor = Rotation.from_rotvec(step[:3]).as_matrix(), float(np.exp(np.clip(step[3], -0.2, 0.2)))
    shift = step[4:] * radius
    moved = Sim3(
        pose.scale * factor,
        turn @ pose.rotation,
        factor * turn @ (pose.translation - middle) + middle + shift,
    )
    return moved, float(np.abs(step).max())


def _residual(seen: np.ndarray, tree: cKDTree, front: _Front, pose: Sim3, middle: np.ndarray) -> float:
    """How far the farthest of the kept pairs are apart along the normals, as a share of the mesh's radius."""
    pairs = _pairs(seen, tree, front, pose, middle)
    if pairs is None:
        return float("inf")
    places, normals, targets = pairs
    radius = np.percentile(np.linalg.norm(places - np.median(places, axis=0), axis=1), _RADIUS) + 1e-12
    return float(np.quantile(np.abs(((places - targets) * normals).sum(1)), _WORST) / radius)
