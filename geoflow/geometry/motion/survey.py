"""A first look over a segment, before any depth is computed: focal length, and good stereo pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoflow.geometry.cameras import pixel_grid
from geoflow.geometry.motion.epipolar import (
    FOCAL_GRID,
    FOCAL_PRIOR,
    FOCAL_PRIOR_SIGMA,
    fit_rotation,
    initial_motion,
    inverse_depths,
    masked_median,
    mirrored_motion,
    refine_motion,
)
from geoflow.geometry.optical_flow import flow_error, quick_flow
from geoflow.geometry.views import is_bare

GAPS = (2, 4, 8, 12, 16, 24, 32)  # frames between the views of a pair
ANCHOR_EVERY = 10  # a pair of every gap starts at each of these frames
LEAST_TO_VOTE = 6  # frames: fewer views fit a wrong focal length with a wrong relief, too
# Of pairs that moved, the share with parallax; and the lead over the reversed order of depth, in robust cost (0..1).
# With less, an unknown lens leaves open what is near and what is far. Long lenses seen as wide ones had at most 0.024.
LEAST_TELLING, LEAST_LENS_LEAD = 0.25, 0.04
LEAST_PAIRS = 5  # with parallax: a long lens was taken for a wide one, reversed, by four
MOST_LENS_COST = 0.3  # with the best lens; clips have up to 0.22, lenses longer than all that are tried 0.34
FOCAL_VOTE = 8.0  # weight of one pair's robust cost (0..1) against the prior on the focal length
STARTS = 3  # focal lengths from which motions are carried to the others
GRID_POINTS = 400  # matches per pair that are fitted
FLOW_ERROR_PX = 1.0
# Motion that no rotation explains, in px of a 320-px-wide image (median over the image): below the first value it is
# noise; at the second, triangulation is good to a few percent and longer gaps only lose matches.
LEAST_PARALLAX, GOOD_PARALLAX = 0.7, 2.5
GOOD_SHARE, LEAST_SHARE = 0.7, 0.45  # matched share of the image that a pair should keep, and must keep


@dataclass(frozen=True)
class Survey:
    """What the survey found. `forward[i]` and `backward[i]` are the gaps to frame i's neighbours, 0 for none."""

    focal: float  # px of the surveyed frames
    forward: np.ndarray  # (T,) int
    backward: np.ndarray  # (T,) int

    @classmethod
    def of_nothing(cls, count: int, long_side: int) -> Survey:
        """Return the survey of frames without parallax, with the most likely focal length."""
        nothing = np.zeros(count, int)
        return cls(FOCAL_PRIOR * long_side, nothing, nothing)

    def neighbours(self, i: int) -> list[int]:
        """Return the frames to triangulate frame i against; empty if there is no parallax.

        At the ends of a segment both lie on one side: two views are needed to find things that move by themselves.
        """
        forward, backward = int(self.forward[i]), int(self.backward[i])
        if forward and backward:
            return [i + forward, i - backward]
        step = forward or -backward
        return [i + step, i + step // 2] if abs(step) >= 4 else [i + step] if step else []

    def thinned(self, served: np.ndarray, every: int) -> np.ndarray:
        """Return the frames whose depth is wanted, (T,) bool: of those in `served` (T,) bool one in `every`.

        At least two of the served frames are wanted, if two have a neighbour to triangulate against. All others are
        wanted, too.
        """
        able = np.flatnonzero(served & ((self.forward > 0) | (self.backward > 0)))
        number = min(len(able), max(2, -(-len(able) // every)))
        wanted = ~served
        wanted[able[((np.arange(number) + 0.5) * len(able) / max(number, 1)).astype(int)]] = True
        return wanted


@dataclass(frozen=True)
class Matches:
    """Matches of P pairs on a regular grid: first frame and gap (P,), pixels (P, N, 2), weights 0 or 1 (P, N)."""

    first: np.ndarray
    gap: np.ndarray
    uv_a: np.ndarray
    uv_b: np.ndarray
    weight: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Matches:
        return Matches(self.first[rows], self.gap[rows], self.uv_a[rows], self.uv_b[rows], self.weight[rows])


class Surveyor:
    """Surveys (H, W) uint8 frames; `ignore` marks pixels (H, W) bool per frame that must not be used."""

    def __init__(self, grays: Sequence[np.ndarray], ignore: Sequence[np.ndarray] | None = None) -> None:
        self.grays, self.ignore = grays, ignore
        self.height, self.width = grays[0].shape
        self.long_side = max(self.height, self.width)
        self.unit = self.long_side / 320  # thresholds in px are for this size

    def run(self, intrinsics: np.ndarray | None = None) -> Survey:
        """Find focal length and neighbours; known intrinsics (3, 3) are used as they are.

        No frame has neighbours if the lens is unknown, and the motion does not tell near from far with every lens.
        """
        count = len(self.grays)
        nothing = np.zeros(count, int)
        center = np.array([(self.width - 1) / 2, (self.height - 1) / 2])
        focal = FOCAL_PRIOR * self.long_side
        if intrinsics is not None:
            focal, center = float(intrinsics[0, 0]), intrinsics[:2, 2].astype(np.float64)
        matches = self._match()
        if not len(matches.first):
            return Survey(focal, nothing, nothing)
        if intrinsics is None:
            vote = vote_lens(matches, center, self.long_side, self.unit)
            if not vote.tells_order:
                return Survey(vote.focal, nothing, nothing)
            focal = vote.focal if count >= LEAST_TO_VOTE else focal
        share = matches.weight.mean(1)
        parallax = median_parallax(matches, focal, center) / self.unit
        return Survey(focal, *choose_gaps(matches, parallax, share, count))

    def _match(self) -> Matches:
        step = max(1, round(np.sqrt(self.height * self.width / GRID_POINTS)))
        grid = (slice(step // 2, None, step), slice(step // 2, None, step))
        uv = pixel_grid(self.height, self.width)[grid].reshape(-1, 2).astype(np.float64)
        rows = []
        count = len(self.grays)
        bare = [is_bare(gray) for gray in self.grays]  # flow would follow noise
        for gap in (gap for gap in GAPS if gap < count):
            anchors = np.unique(np.linspace(0, count - 1 - gap, 1 + -(-(count - gap) // ANCHOR_EVERY)).astype(int))
            for a in anchors:
                if bare[a] or bare[a + gap]:
                    rows.append((a, gap, uv, uv, np.zeros(len(uv))))
                    continue
                forward = quick_flow(self.grays[a], self.grays[a + gap])
                error = flow_error(forward, quick_flow(self.grays[a + gap], self.grays[a]))[grid].ravel()
                good = error < FLOW_ERROR_PX
                if self.ignore is not None:
                    good &= ~self.ignore[a][grid].ravel()
                rows.append((a, gap, uv, uv + forward[grid].reshape(-1, 2), good.astype(float)))
        if not rows:
            none = np.zeros((0, len(uv), 2))
            return Matches(np.zeros(0, int), np.zeros(0, int), none, none, none[..., 0])
        return Matches(*(np.stack(column) for column in zip(*rows)))


def median_parallax(matches: Matches, focal: float, center: np.ndarray) -> np.ndarray:
    """Return the median motion (P,) px that is left after the best rotation of each pair is subtracted."""
    _, left = fit_rotation(matches.uv_a, matches.uv_b, matches.weight, np.full(len(matches.gap), focal), center)
    return masked_median(left, matches.weight)


@dataclass(frozen=True)
class LensVote:
    """The focal length on which pairs agree best, and whether they tell near from far with it."""

    focal: float  # px
    share: float  # of the pairs that moved and match well: those with motion that no rotation explains
    pairs: int  # with that motion
    cost: float  # robust epipolar cost (0..1) of the median pair with its best lens
    lead: float  # of their cost over that with near and far exchanged, each with its best lens; inf if there is none

    @property
    def tells_order(self) -> bool:
        enough = self.share >= LEAST_TELLING and self.pairs >= LEAST_PAIRS
        return enough and self.cost <= MOST_LENS_COST and self.lead >= LEAST_LENS_LEAD


def vote_lens(matches: Matches, center: np.ndarray, long_side: int, unit: float) -> LensVote:
    """Vote on the focal length in px.

    Every focal length of a grid is tried: the robust epipolar error after refining all motions with it is summed over
    the pairs. If rotation alone explains all pairs, the error of the rotations is used instead. A wide prior around
    common cameras decides only if the motion tells nothing (a still camera, pure sideways motion).

    With another focal length the same matches may show the same scene with near and far exchanged. So the costs of both
    are compared, each with the focal length that suits it best: what looks right with one lens only is not told.
    """
    usable = (matches.weight.mean(1) > LEAST_SHARE) & (matches.weight.sum(1) >= 30)
    moved = masked_median(np.linalg.norm(matches.uv_b - matches.uv_a, axis=-1), matches.weight) > 1.0 * unit
    matches = matches[np.flatnonzero(usable & moved)]
    if not len(matches.gap):
        return LensVote(FOCAL_PRIOR * long_side, 0.0, 0, np.nan, np.nan)
    coarse = FOCAL_GRID * long_side
    turning = np.array([median_parallax(matches, focal, center) for focal in coarse])
    informative = np.flatnonzero(turning.min(0) > LEAST_PARALLAX * unit)
    share = len(informative) / len(matches.gap)
    rotates = share < 0.15

    def unlikely(focals: np.ndarray) -> np.ndarray:
        return 0.5 * (np.log(focals / long_side / FOCAL_PRIOR) / FOCAL_PRIOR_SIGMA) ** 2

    if rotates:
        energies = (np.minimum(turning / unit, 2) ** 2).sum(1) + unlikely(coarse)
        worlds = None
    else:
        matches = matches[informative]
        worlds = _Worlds.of(matches, coarse, center)
        energies = FOCAL_VOTE * worlds.cost.min(1).sum(1) + unlikely(coarse)
    guess = np.exp(_parabola_minimum(np.log(coarse), energies))
    fine = guess * np.geomspace(0.92, 1.087, 5)  # over the grid's wide spacing the curve is not a parabola
    if worlds is None:
        left = np.array([median_parallax(matches, focal, center) for focal in fine])
        energies = (np.minimum(left / unit, 2) ** 2).sum(1) + unlikely(fine)
    else:
        energies = FOCAL_VOTE * _Worlds.of(matches, fine, center).cost.min(1).sum(1) + unlikely(fine)
    focal = float(np.exp(_parabola_minimum(np.log(fine), energies)))
    if worlds is None:
        return LensVote(focal, share, len(informative), np.nan, np.nan)
    cost, other = worlds.by_order(int(np.abs(np.log(coarse / guess)).argmin()), matches.weight)
    return LensVote(focal, share, len(informative), cost, other - cost)


@dataclass
class _FocalSweep:
    """Motions of pairs under changing focal lengths; they are carried from one focal length to the next."""

    matches: Matches
    center: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray

    @classmethod
    def at(cls, focal: float, matches: Matches, center: np.ndarray) -> _FocalSweep:
        intrinsics = np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]])
        pairs = len(matches.gap)
        sweep = cls(matches, center, np.tile(np.eye(3), (pairs, 1, 1)), np.tile([1.0, 0, 0], (pairs, 1)))
        for p in range(pairs):
            start = initial_motion(matches.uv_a[p], matches.uv_b[p], matches.weight[p], intrinsics)
            if start is not None:
                sweep.rotation[p], sweep.translation[p] = start
        return sweep

    def solve(self, focal: float, iterations: int = 8) -> tuple[np.ndarray, np.ndarray]:
        """Return the costs (2, P) and inverse depths (2, P, N) of the carried motions and of their mirrored ones.

        Matches behind the camera count as wrong. Motions that fit near and far exchanged are stable while the focal
        length changes; so the better ones of both are carried on.
        """
        m, focals = self.matches, np.full(len(self.matches.gap), focal)
        carried = inverse_depths(m.uv_a, m.uv_b, focals, self.center, self.rotation, self.translation)
        best, costs, inverses = np.full(len(focals), np.inf), [], []
        for start in ((self.rotation, self.translation), mirrored_motion(self.rotation, carried)):
            found = refine_motion(m.uv_a, m.uv_b, m.weight, focals, self.center, *start, iterations)
            depths = inverse_depths(m.uv_a, m.uv_b, focals, self.center, found.rotation, found.translation)
            cost = found.cost + depths.share_behind(m.weight)
            better = cost < best
            best = np.where(better, cost, best)
            self.rotation = np.where(better[:, None, None], found.rotation, self.rotation)
            self.translation = np.where(better[:, None], found.translation, self.translation)
            costs.append(cost)
            inverses.append(depths.inverse)
        return np.array(costs), np.array(inverses)

    def copy(self) -> _FocalSweep:
        return _FocalSweep(self.matches, self.center, self.rotation, self.translation)


@dataclass(frozen=True)
class _Worlds:
    """The motions found for P pairs under each of F focal lengths, W of them each."""

    cost: np.ndarray  # (F, W, P) robust epipolar cost, 0 to 2; inf where there is none
    rank: np.ndarray  # (F, W, P, N) float32: of the inverse depth of each match among the pair's matches

    @classmethod
    def of(cls, matches: Matches, focals: np.ndarray, center: np.ndarray) -> _Worlds:
        """Try sweeps outwards from several focal lengths.

        A sweep that starts far from the true focal length may follow motions with near and far exchanged throughout.
        """
        pairs, number = matches.weight.shape
        firsts = np.unique(np.linspace(0, len(focals) - 1, 2 * STARTS + 1).astype(int)[1::2])
        cost = np.full((len(focals), 2 * len(firsts), pairs), np.inf)
        rank = np.zeros((*cost.shape, number), np.float32)
        for row, first in zip(range(0, cost.shape[1], 2), firsts):
            start = _FocalSweep.at(focals[first], matches, center)
            start.solve(focals[first], 15)
            for indices in (range(first, len(focals)), range(first - 1, -1, -1)):
                sweep = start.copy()
                for index in indices:
                    cost[index, row : row + 2], inverse = sweep.solve(focals[index])
                    rank[index, row : row + 2] = inverse.argsort(-1).argsort(-1)
        return cls(cost, rank)

    def by_order(self, focal: int, weight: np.ndarray) -> tuple[float, float]:
        """Return what the order of depth that is best under a focal length costs, and what the reversed one does.

        Either order is taken at the focal length where its median cost over the pairs is least; inf if most pairs show
        no such order with any. `weight` is (P, N).
        """
        own = self.rank[focal, self.cost[focal].argmin(0), np.arange(len(weight))]  # (P, N)
        agree = _correlation(self.rank, own, weight)
        both = (np.where(which, self.cost, np.inf).min(1) for which in (agree > 0, agree < 0))
        same, other = (float(np.median(cost, axis=1).min()) for cost in both)
        return same, other


def _correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the correlations (...) of values (..., N) under weights, with shapes that broadcast."""
    total = weight.sum(-1)
    a = (a - ((a * weight).sum(-1) / total)[..., None]) * weight
    b = (b - ((b * weight).sum(-1) / total)[..., None]) * weight
    return (a * b).sum(-1) / np.maximum(np.sqrt((a * a).sum(-1) * (b * b).sum(-1)), 1e-12)


def _parabola_minimum(x: np.ndarray, y: np.ndarray) -> float:
    """Vertex through the lowest sample of an evenly spaced curve and its neighbours."""
    i = int(np.clip(y.argmin(), 1, len(y) - 2))
    bend = y[i - 1] - 2 * y[i] + y[i + 1]
    shift = 0.5 * (y[i - 1] - y[i + 1]) / bend if bend > 1e-12 else 0.0
    return float(x[i] + np.clip(shift, -1, 1) * (x[1] - x[0]))


def choose_gaps(matches: Matches, parallax: np.ndarray, share: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose the gaps to the next and previous neighbour of each of `count` frames: two (T,) int arrays, 0: none.

    `parallax` (P,) px at 320 px width and `share` (P,) of the surveyed pairs are interpolated in time. The shortest gap
    with good parallax and a good share of matches wins; if there is none, the gap with the most parallax.
    """
    frames = np.arange(count)
    chosen = []
    for direction in (1, -1):
        scores = np.zeros((len(GAPS), count))
        for k, gap in enumerate(GAPS):
            rows = matches.gap == gap
            if not rows.any():
                continue
            middle, at = matches.first[rows] + gap / 2, frames + direction * gap / 2
            p, s = np.interp(at, middle, parallax[rows]), np.interp(at, middle, share[rows])
            other = frames + direction * gap
            possible = (other >= 0) & (other < count) & (p > LEAST_PARALLAX) & (s > LEAST_SHARE)
            good = (p > GOOD_PARALLAX) & (s > GOOD_SHARE)
            # Good pairs score 2 minus a little for their length; the others score by parallax, always below 1.
            scores[k] = np.where(possible, np.where(good, 2 - 0.01 * k, np.minimum(p / 100, 0.9)), 0)
        best = scores.argmax(0)
        chosen.append(np.where(scores.max(0) > 0, np.array(GAPS)[best], 0))
    return chosen[0], chosen[1]
