"""How an object moves: its pose in each frame, from points on it that are followed in the world.

Points come and go, so the frames are linked: the object's points are collected in the axes of one frame, and each frame
is fitted to those that it shows. Frames are read in tiles and never kept: memory grows with the number of points, and
with that of frames only by the poses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from geoflow.geometry.rigid import apply, invert, umeyama

Read = Callable[[slice], tuple[np.ndarray, np.ndarray]]  # frames -> xyz (t, N, 3) world, and which are seen (t, N)

LEAST_POINTS = 6  # that a pose rests on; three determine it, and half of the others may be wrong
_TILE = 32  # frames read at once
_SAMPLES = 96  # triples tried in a frame; one of them is right almost surely, with half of the points wrong
_ROUNDS = 4  # of a fit, each on the points that agree with the round before
_SPREAD = 2.5  # a point agrees if it is no further off than this many times the median
_MOST_OFF = 0.2  # residual, as a share of the object's extent, above which points are not those of a rigid body
_MOST_UNSURE = np.radians(10)  # standard error of the rotation
_REFINED = 2  # times that points and poses are made to agree over the whole video


@dataclass(frozen=True)
class ObjectMotion:
    """An object's rigid motion since a frame `reference`, in the world; T frames."""

    moved: np.ndarray  # (T, 4, 4) float64: maps its points from where they were in `reference`; NaN where unknown
    residual: np.ndarray  # (T,) float64 scene units: RMS distance of the points that agree; NaN where unknown
    points: np.ndarray  # (T,) int: how many points agree; 0 where the pose is unknown
    centre: np.ndarray  # (3,) float64: median of its points in `reference`
    reference: int

    @property
    def known(self) -> np.ndarray:
        """Return in which frames the pose is known: (T,) bool."""
        return np.isfinite(self.residual)

    def since(self, frame: int) -> ObjectMotion:
        """Return the motion since another frame, in which the pose must be known."""
        from_there = invert(self.moved[frame])
        moved = self.moved @ from_there
        moved[frame] = np.eye(4)
        return replace(self, moved=moved, centre=apply(self.moved[frame], self.centre), reference=frame)


@dataclass(frozen=True)
class RigidFit:
    """Points fitted to others, some of which are wrong."""

    pose: np.ndarray  # (4, 4)
    residual: float  # RMS over the points that agree
    agree: np.ndarray  # (N,) bool


def object_motion(read: Read, num_frames: int) -> ObjectMotion | None:
    """Return how an object moves; None if no frame shows enough points of it together with a frame beside it."""
    counts = np.concatenate([_seen(read, part).sum(1) for part in _tiles(num_frames)]) if num_frames else np.zeros(0)
    if counts.max(initial=0) < LEAST_POINTS:
        return None
    reference = int(counts.argmax())
    course = _Course(num_frames)
    course.begin(reference, *(array[0] for array in read(slice(reference, reference + 1))))
    for frames in (range(reference + 1, num_frames), range(reference - 1, -1, -1)):
        for i, xyz, seen in _in_order(read, frames):
            course.follow(i, xyz, seen)
    for _ in range(_REFINED):
        course.settle(read)
    found = course.motion(reference)
    return found if found.known.sum() > 1 else None


def fit_rigid(source: np.ndarray, target: np.ndarray, *, seed: int = 0) -> RigidFit | None:
    """Return the pose that takes points (N, 3) to others, of which fewer than half may be wrong; None if it is unsure.

    Least median of squares over triples (Rousseeuw 1984), then least squares on the points that agree.
    """
    if len(source) < LEAST_POINTS:
        return None
    triples = np.argsort(np.random.default_rng(seed).random((_SAMPLES, len(source))), axis=1)[:, :3]
    poses = _through_triples(source[triples], target[triples])
    off = np.linalg.norm(np.einsum("sij,nj->sni", poses[:, :3, :3], source) + poses[:, None, :3, 3] - target, axis=-1)
    return refined(source, target, poses[int(np.median(off, axis=1).argmin())])


def refined(source: np.ndarray, target: np.ndarray, pose: np.ndarray) -> RigidFit | None:
    """Return the pose near `pose` that the points agree on, as `fit_rigid` does; None if it is unsure."""
    if len(source) < LEAST_POINTS:
        return None
    extent = _extent(source)
    agree = np.zeros(len(source), bool)
    for _ in range(_ROUNDS):
        off = np.linalg.norm(apply(pose, source) - target, axis=1)
        median = float(np.median(off)) * (1 + 5 / (len(source) - 3))  # of few points it is too small (Rousseeuw)
        agree = off <= max(_SPREAD * median, 1e-6 * extent)
        try:
            found = umeyama(source[agree], target[agree], with_scale=False)
        except (ValueError, np.linalg.LinAlgError):
            return None
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = found.rotation, found.translation
    residual = float(np.sqrt((np.linalg.norm(apply(pose, source) - target, axis=1)[agree] ** 2).mean()))
    count, wide = int(agree.sum()), _width(source[agree])
    unsure = residual / (np.sqrt(count) * wide) if wide > 0 else np.inf
    if count < LEAST_POINTS or residual > _MOST_OFF * extent or unsure > _MOST_UNSURE:
        return None
    return RigidFit(pose, residual, agree)


class _Course:
    """The poses found so far, and the object's points in the axes of the frame that it began with."""

    def __init__(self, num_frames: int) -> None:
        self._moved = np.full((num_frames, 4, 4), np.nan)
        self._residual = np.full(num_frames, np.nan)
        self._points = np.zeros(num_frames, np.int64)
        self._sum = np.zeros((0, 3))
        self._weight = np.zeros(0)

    def begin(self, reference: int, xyz: np.ndarray, seen: np.ndarray) -> None:
        """Take the points of a frame, (N, 3) and (N,), as they lie there."""
        self._sum, self._weight = np.where(seen[:, None], xyz, 0.0), seen.astype(np.float64)
        self._moved[reference], self._residual[reference] = np.eye(4), 0.0
        self._points[reference] = seen.sum()

    def follow(self, i: int, xyz: np.ndarray, seen: np.ndarray) -> None:
        """Fit frame i to the points that are known, and add what else it shows."""
        known = np.flatnonzero(seen & (self._weight > 0))
        fit = fit_rigid(self._place(known), xyz[known], seed=i)
        self._keep(i, fit)
        if fit is None:
            return
        fresh = np.flatnonzero(seen & (self._weight == 0))
        taken = np.concatenate([known[fit.agree], fresh])
        self._sum[taken] += apply(invert(fit.pose), xyz[taken])
        self._weight[taken] += 1

    def settle(self, read: Read) -> None:
        """Make each point the mean of what all frames say of it, then fit every frame again."""
        count, frames = len(self._weight), range(len(self._moved))
        total, weight = np.zeros((count, 3)), np.zeros(count)
        for i, xyz, seen in _in_order(read, frames):
            known = np.flatnonzero(seen & (self._weight > 0))
            if not self._points[i] or (fit := self._again(i, known, xyz)) is None:
                continue
            taken = known[fit.agree]
            total[taken] += apply(invert(fit.pose), xyz[taken])
            weight[taken] += 1
        self._sum, self._weight = total, weight
        for i, xyz, seen in _in_order(read, frames):
            known = np.flatnonzero(seen & (self._weight > 0))
            fit = self._again(i, known, xyz) if self._points[i] else None
            self._keep(i, fit or fit_rigid(self._place(known), xyz[known], seed=i))

    def motion(self, reference: int) -> ObjectMotion:
        centre = np.median(self._place(np.flatnonzero(self._weight > 0)), axis=0)
        found = ObjectMotion(self._moved, self._residual, self._points, centre, reference)
        known = np.flatnonzero(found.known)
        if not len(known):
            return found
        nearest = known[np.abs(known - reference).argmin()]  # it is the reference itself unless its points fell away
        return found.since(int(nearest))

    def _again(self, i: int, known: np.ndarray, xyz: np.ndarray) -> RigidFit | None:
        return refined(self._place(known), xyz[known], self._moved[i])

    def _keep(self, i: int, fit: RigidFit | None) -> None:
        self._moved[i] = np.nan if fit is None else fit.pose
        self._residual[i] = np.nan if fit is None else fit.residual
        self._points[i] = 0 if fit is None else fit.agree.sum()

    def _place(self, which: np.ndarray) -> np.ndarray:
        place: np.ndarray = self._sum[which] / self._weight[which, None]
        return place


def _through_triples(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the poses (S, 4, 4) that take three points to three others, (S, 3, 3) each (Kabsch)."""
    from_mean, to_mean = source.mean(1), target.mean(1)
    across = np.einsum("sni,snj->sij", target - to_mean[:, None], source - from_mean[:, None])
    u, _, vt = np.linalg.svd(across)
    flip = np.ones((len(source), 3))
    flip[:, 2] = np.sign(np.linalg.det(u @ vt))
    poses = np.tile(np.eye(4), (len(source), 1, 1))
    poses[:, :3, :3] = (u * flip[:, None]) @ vt
    poses[:, :3, 3] = to_mean - np.einsum("sij,sj->si", poses[:, :3, :3], from_mean)
    return poses


def _extent(points: np.ndarray) -> float:
    """Return the RMS distance from the middle."""
    return float(np.sqrt(((points - np.median(points, axis=0)) ** 2).sum(1).mean()))


def _width(points: np.ndarray) -> float:
    """Return the RMS distance from the line that the points lie nearest to: about it, a rotation is known worst."""
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return float(np.sqrt((spread[1:] ** 2).sum() / len(points)))


def _tiles(num_frames: int) -> Iterator[slice]:
    return (slice(start, min(start + _TILE, num_frames)) for start in range(0, num_frames, _TILE))


def _seen(read: Read, part: slice) -> np.ndarray:
    xyz, seen = read(part)
    return seen & np.isfinite(xyz).all(-1)


def _in_order(read: Read, frames: range) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield (frame, xyz (N, 3) float64, seen (N,)) of a run of frames, forwards or backwards."""
    for start in range(0, len(frames), _TILE):
        run = frames[start : start + _TILE]
        first = min(run[0], run[-1])
        xyz, seen = read(slice(first, max(run[0], run[-1]) + 1))
        seen = seen & np.isfinite(xyz).all(-1)
        for i in run:
            yield i, xyz[i - first].astype(np.float64), seen[i - first]
