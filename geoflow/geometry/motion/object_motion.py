"""How an object moves: its pose in each frame, from points on it that are followed in the world.

Points come and go, so the frames are linked: the object's points are collected in the axes of one frame, and each frame
is fitted to those that it shows. A camera knows a point far better across its ray than along it, where its depth
counts, and that is how errors are weighed. Frames are read in tiles and never kept: memory grows with the number of
points, and with that of frames only by the poses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from geoflow.geometry.rigid import apply, invert, nearest_rotation, skew

# frames -> xyz (t, N, 3) world, which are seen (t, N), and the camera's centre (t, 3), NaN where unknown
Read = Callable[[slice], tuple[np.ndarray, np.ndarray, np.ndarray]]
Frame = tuple[int, np.ndarray, np.ndarray, np.ndarray]  # its number, xyz (N, 3), seen (N,), weights (N, 3, 3)

LEAST_POINTS = 6  # that a pose rests on; three determine it, and half of the others may be wrong
_TILE = 32  # frames read at once
_SAMPLES = 96  # triples tried in a frame; one of them is right almost surely, with half of the points wrong
_ROUNDS = 4  # of a fit, each on the points that agree with the round before
_SPREAD = 2.5  # a point agrees if it is no further off than this many times the median
_ALONG = 0.3  # what an error along the ray counts at first, beside one across it; then as the points show
_LEAST_ALONG, _MOST_ALONG = 0.05, 0.9
_MOST_OFF = 0.15  # weighed error, as a share of the object's extent, above which points are not of a rigid body
_MOST_CONDITION = 1e8  # of the equations, scaled; more says that the points lie on a line
_MOST_UNSURE = np.radians(10)  # standard error of the rotation
_REFINED = 2  # times that points and poses are made to agree over the whole video


@dataclass(frozen=True)
class ObjectMotion:
    """An object's rigid motion since a frame `reference`, in the world; T frames."""

    moved: np.ndarray  # (T, 4, 4) float64: maps its points from where they were in `reference`; NaN where unknown
    residual: np.ndarray  # (T,) float64 scene units: RMS distance of the points that agree, along rays and across
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
    counts = np.array([seen.sum() for _, _, seen, _ in _in_order(read, range(num_frames), _ALONG)])
    if counts.max(initial=0) < LEAST_POINTS:
        return None
    reference = int(counts.argmax())
    course = _Course(num_frames)
    for frame in _in_order(read, range(reference, reference + 1), _ALONG):
        course.begin(*frame)
    for frames in (range(reference + 1, num_frames), range(reference - 1, -1, -1)):
        for frame in _in_order(read, frames, _ALONG):
            course.follow(*frame)
    for _ in range(_REFINED):
        course.settle(read, course.along())
    found = course.motion(reference)
    return found if found.known.sum() > 1 else None


def fit_rigid(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None, *, seed: int = 0
) -> RigidFit | None:
    """Return the pose that takes points (N, 3) to others, of which fewer than half may be wrong; None if it is unsure.

    `weights` (N, 3, 3) weigh errors by direction. Least median of squares over triples (Rousseeuw 1984), then least
    squares on the points that agree.
    """
    if len(source) < LEAST_POINTS:
        return None
    weights = np.tile(np.eye(3), (len(source), 1, 1)) if weights is None else weights
    triples = np.argsort(np.random.default_rng(seed).random((_SAMPLES, len(source))), axis=1)[:, :3]
    poses = _through_triples(source[triples], target[triples])
    off = np.einsum("sij,nj->sni", poses[:, :3, :3], source) + poses[:, None, :3, 3] - target
    squared = np.einsum("sni,nij,snj->sn", off, weights, off)
    return refined(source, target, weights, poses[int(np.median(squared, axis=1).argmin())])


def refined(source: np.ndarray, target: np.ndarray, weights: np.ndarray, pose: np.ndarray) -> RigidFit | None:
    """Return the pose near `pose` that the points agree on, as `fit_rigid` does; None if it is unsure."""
    if len(source) < LEAST_POINTS:
        return None
    extent = _extent(source)
    agree = np.zeros(len(source), bool)
    for _ in range(_ROUNDS):
        off = _weighed(apply(pose, source) - target, weights)
        median = float(np.median(off)) * (1 + 5 / (len(source) - 3))  # of few points it is too small (Rousseeuw)
        agree = np.asarray(off <= max(_SPREAD * median, 1e-6 * extent))
        try:
            pose, hessian = _nearer(source[agree], target[agree], weights[agree], pose)
        except np.linalg.LinAlgError:
            return None
    error = apply(pose, source) - target
    agree = agree & (_weighed(error, weights) <= max(_SPREAD * median, 1e-6 * extent))
    count = int(agree.sum())
    if count < LEAST_POINTS:
        return None
    residual = float(np.sqrt((error[agree] ** 2).sum(1).mean()))
    squared = _weighed(error[agree], weights[agree]) ** 2
    variance = float(squared.sum()) / (3 * count - 6)
    unsure = np.sqrt(variance * np.linalg.eigvalsh(np.linalg.inv(hessian)[:3, :3]).max())
    if not unsure <= _MOST_UNSURE or squared.mean() > (_MOST_OFF * extent) ** 2:
        return None
    return RigidFit(pose, residual, agree)


def _nearer(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray, pose: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pose after a step of Gauss-Newton, about the points' middle, and the Hessian (6, 6): turn, shift.

    Raises LinAlgError if the points do not determine it.
    """
    moved = apply(pose, source)
    middle = moved.mean(0)
    jacobian = np.concatenate([-skew(moved - middle), np.tile(np.eye(3), (len(moved), 1, 1))], 2)
    left = np.einsum("nki,nkl->nil", jacobian, weights)
    hessian = np.einsum("nil,nlj->ij", left, jacobian)
    scale = np.sqrt(np.diag(hessian))
    if not (scale > 0).all() or np.linalg.cond(hessian / np.outer(scale, scale)) > _MOST_CONDITION:
        raise np.linalg.LinAlgError("the points lie on a line")
    step = np.linalg.solve(hessian, np.einsum("nil,nl->i", left, target - moved))
    turn = nearest_rotation(_turn(step[:3]))
    found = np.eye(4)
    found[:3, :3] = turn @ pose[:3, :3]
    found[:3, 3] = turn @ (pose[:3, 3] - middle) + middle + step[3:]
    return found, hessian


def _turn(vector: np.ndarray) -> np.ndarray:
    """Return the rotation about a vector by its length (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3) + skew(vector)
    cross = skew(vector / angle)
    found: np.ndarray = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return found


def _weighed(error: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the lengths (N,) of errors (N, 3)."""
    return np.sqrt(np.einsum("ni,nij,nj->n", error, weights, error))


class _Course:
    """The poses found so far, and the object's points in the axes of the frame that it began with."""

    def __init__(self, num_frames: int) -> None:
        self._moved = np.full((num_frames, 4, 4), np.nan)
        self._residual = np.full(num_frames, np.nan)
        self._points = np.zeros(num_frames, np.int64)
        self._model = _Model(0)
        self._errors = np.zeros(2)  # sums of the squares of errors along and across the rays

    def begin(self, reference: int, xyz: np.ndarray, seen: np.ndarray, weights: np.ndarray) -> None:
        """Take the points of a frame as they lie there."""
        self._model = _Model(len(seen))
        self._model.add(np.flatnonzero(seen), np.eye(4), xyz, weights)
        self._moved[reference], self._residual[reference] = np.eye(4), 0.0
        self._points[reference] = seen.sum()

    def follow(self, i: int, xyz: np.ndarray, seen: np.ndarray, weights: np.ndarray) -> None:
        """Fit frame i to the points that are known, and add what else it shows."""
        known = np.flatnonzero(seen & self._model.known)
        fit = fit_rigid(self._model.places(known), xyz[known], weights[known], seed=i)
        self._keep(i, fit)
        if fit is not None:
            self._errors += _along_and_across(
                apply(fit.pose, self._model.places(known)) - xyz[known], weights[known], fit
            )
            fresh = np.flatnonzero(seen & ~self._model.known)
            self._model.add(np.concatenate([known[fit.agree], fresh]), fit.pose, xyz, weights)

    def along(self) -> float:
        """Return what an error along the ray should count beside one across it, by the errors of the last fits."""
        along, across = self._errors
        if not along > 0:
            return _MOST_ALONG if across > 0 else _ALONG
        return float(np.clip(np.sqrt(across / 2 / along), _LEAST_ALONG, _MOST_ALONG))

    def settle(self, read: Read, along: float) -> None:
        """Make each point what all frames together say of it, then fit every frame again."""
        self._errors[:] = 0
        model = _Model(len(self._model.known))
        frames = range(len(self._moved))
        for i, xyz, seen, weights in _in_order(read, frames, along):
            known = np.flatnonzero(seen & self._model.known)
            if self._points[i] and (fit := self._again(i, known, xyz, weights)) is not None:
                model.add(known[fit.agree], fit.pose, xyz, weights)
        self._model = model
        for i, xyz, seen, weights in _in_order(read, frames, along):
            known = np.flatnonzero(seen & model.known)
            fit = self._again(i, known, xyz, weights) if self._points[i] else None
            fit = fit or fit_rigid(model.places(known), xyz[known], weights[known], seed=i)
            self._keep(i, fit)
            if fit is not None:
                self._errors += _along_and_across(
                    apply(fit.pose, model.places(known)) - xyz[known], weights[known], fit
                )

    def motion(self, reference: int) -> ObjectMotion:
        centre = np.median(self._model.places(np.flatnonzero(self._model.known)), axis=0)
        found = ObjectMotion(self._moved, self._residual, self._points, centre, reference)
        known = np.flatnonzero(found.known)
        if not len(known):
            return found
        nearest = known[np.abs(known - reference).argmin()]  # it is the reference itself unless its points fell away
        return found.since(int(nearest))

    def _again(self, i: int, known: np.ndarray, xyz: np.ndarray, weights: np.ndarray) -> RigidFit | None:
        return refined(self._model.places(known), xyz[known], weights[known], self._moved[i])

    def _keep(self, i: int, fit: RigidFit | None) -> None:
        self._moved[i] = np.nan if fit is None else fit.pose
        self._residual[i] = np.nan if fit is None else fit.residual
        self._points[i] = 0 if fit is None else fit.agree.sum()


class _Model:
    """N points of an object, each the weighed mean of what frames say of it."""

    def __init__(self, count: int) -> None:
        self._weight = np.zeros((count, 3, 3))
        self._sum = np.zeros((count, 3))
        self.known = np.zeros(count, bool)

    def add(self, which: np.ndarray, pose: np.ndarray, xyz: np.ndarray, weights: np.ndarray) -> None:
        """Add what a frame in which the object has this pose says of some of all N points."""
        turn = pose[:3, :3]
        weight = turn.T @ weights[which] @ turn
        self._weight[which] += weight
        self._sum[which] += np.einsum("nij,nj->ni", weight, apply(invert(pose), xyz[which]))
        self.known[which] = True

    def places(self, which: np.ndarray) -> np.ndarray:
        """Return where they are, (K, 3)."""
        found: np.ndarray = np.linalg.solve(self._weight[which], self._sum[which][..., None])[..., 0]
        return found


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


def _in_order(read: Read, frames: range, along: float) -> Iterator[Frame]:
    """Yield a run of frames, forwards or backwards, in float64."""
    for start in range(0, len(frames), _TILE):
        run = frames[start : start + _TILE]
        first = min(run[0], run[-1])
        xyz, shown, centres = read(slice(first, max(run[0], run[-1]) + 1))
        seen: np.ndarray = shown & np.isfinite(xyz).all(-1) & np.isfinite(centres).all(-1, keepdims=True)
        for i in run:
            points = np.where(seen[i - first][:, None], xyz[i - first], 0.0).astype(np.float64)
            yield i, points, seen[i - first], _weights(points - np.nan_to_num(centres[i - first]), along)


def _weights(rays: np.ndarray, along: float) -> np.ndarray:
    """Return weights (N, 3, 3) of errors at the ends of rays (N, 3) from the camera: along them they count less."""
    length = np.linalg.norm(rays, axis=1, keepdims=True)
    unit = rays / np.where(length > 0, length, 1.0)
    found: np.ndarray = np.eye(3) - (1 - along**2) * unit[:, :, None] * unit[:, None, :]
    return found


def _along_and_across(error: np.ndarray, weights: np.ndarray, fit: RigidFit) -> np.ndarray:
    """Return the sums of the squares of errors (N, 3) along and across the rays, of the points that agree.

    Of weights I - (1 - a^2) r r^T of unit rays r, the trace is 2 + a^2.
    """
    squared, weighed = (error**2).sum(1), _weighed(error, weights) ** 2
    along = (squared - weighed) / (3 - np.trace(weights, axis1=1, axis2=2))
    return np.array([along[fit.agree].sum(), (squared - along)[fit.agree].sum()])
