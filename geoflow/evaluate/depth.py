"""Scores of depth branches: two passes over the frames, with one pair of frames in memory at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from geoflow.evaluate import measures
from geoflow.evaluate.correspondence import matches
from geoflow.evaluate.pixels import depth_between, sample_grid
from geoflow.evaluate.prediction import Branch
from geoflow.evaluate.scores import NAN, DepthScores
from geoflow.evaluate.truth import TrueFrame, Truth
from geoflow.geometry.depth.depth_order import rank_correlation

# Pixels used for the one scale per video: per frame, and in total, which limits memory for long videos.
_SAMPLES_PER_FRAME = 4096
_SAMPLES = 2_000_000
_ERRORS_PER_FRAME = 80_000  # pixels whose errors count; for a larger frame an even sample gives the same
_STATIC_PER_FRAME = 20_000  # points followed into the next frame
# The order of depth is scored in frames that have one: noise orders the pixels of a wall that faces the camera.
RELIEF = 0.05
ORDERED_PIXELS = 50  # and fewer pixels tell little: rho has a standard error of 1 / sqrt(N - 1) by chance
_ORDERED_PER_FRAME = 20_000

Curves = dict[str, np.ndarray]  # (T,) each, NaN where nothing can be measured


@dataclass(frozen=True)
class DepthFindings:
    """Scores and curves by branch; the baseline is "constant_plane"."""

    scores: dict[str, DepthScores]
    curves: dict[str, Curves]
    scene_depth: float  # the scene's median true depth; NaN if the truth has no depth


@dataclass
class _Mean:
    """A running mean over pixels."""

    total: float = 0.0
    count: int = 0

    def add(self, values: np.ndarray) -> None:
        self.total += float(values.sum(dtype=np.float64))
        self.count += values.size

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else NAN


@dataclass
class _Tally:
    """The figures that one branch has collected so far."""

    num_frames: int
    ratios: list[np.ndarray] = field(default_factory=list)
    points: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    scale: float = NAN
    point_scale: float = NAN
    filled: _Mean = field(default_factory=_Mean)
    coverage: _Mean = field(default_factory=_Mean)
    abs_rel: _Mean = field(default_factory=_Mean)
    delta1: _Mean = field(default_factory=_Mean)
    abs_rel_per_frame: _Mean = field(default_factory=_Mean)
    delta1_per_frame: _Mean = field(default_factory=_Mean)
    point_rel: _Mean = field(default_factory=_Mean)
    point_inliers: _Mean = field(default_factory=_Mean)
    across_seams: list[float] = field(default_factory=list)
    curves: Curves = field(init=False)

    def __post_init__(self) -> None:
        names = ("filled", "coverage", "abs_rel", "scale", "spearman", "flicker")
        self.curves = {name: np.full(self.num_frames, np.nan) for name in names}


class _ConstantPlane:
    """A baseline without knowledge: depth 1 everywhere, seen through the true camera."""

    intrinsics = None

    def __init__(self, truth: Truth) -> None:
        self._size = truth.size

    def depth_at(self, i: int) -> np.ndarray:
        return np.ones(self._size, np.float32)

    def points_at(self, i: int, depth: np.ndarray, pixels: np.ndarray) -> None:
        return None


AnyBranch = Branch | _ConstantPlane


def score_depths(
    branches: Mapping[str, Branch], truth: Truth, num_frames: int, seams: list[tuple[int, int]]
) -> DepthFindings:
    """Score every branch; `seams` are the frames [start, stop) that neighbouring segments share."""
    everyone: dict[str, AnyBranch] = {**branches, "constant_plane": _ConstantPlane(truth)}
    tallies = {name: _Tally(num_frames) for name in everyone}
    scene_depth = _estimate_scales(everyone, tallies, truth, num_frames)
    judged, static = (sample_grid(*truth.size, most) for most in (_ERRORS_PER_FRAME, _STATIC_PER_FRAME))
    previous: tuple[TrueFrame, dict[str, np.ndarray]] | None = None
    for i in range(num_frames):
        frame = truth.frame(i)
        depths = {name: branch.depth_at(i) for name, branch in everyone.items()}
        for name, branch in everyone.items():
            points = branch.points_at(i, depths[name], judged)
            _add_frame(tallies[name], i, frame, depths[name], points, judged)
        if previous is not None:
            for name, step in _steps(*previous, frame, depths, static).items():
                tallies[name].curves["flicker"][i] = step
        previous = frame, depths
    _cross_seams(everyone, tallies, truth, seams, static)
    return DepthFindings(
        {name: _summary(tally, everyone[name].intrinsics, truth, seams) for name, tally in tallies.items()},
        {name: tally.curves for name, tally in tallies.items()},
        scene_depth,
    )


def _estimate_scales(
    everyone: Mapping[str, AnyBranch], tallies: Mapping[str, _Tally], truth: Truth, num_frames: int
) -> float:
    """First pass: estimate one scale per branch from an even sample of pixels; return the true median depth."""
    most = min(_SAMPLES_PER_FRAME, max(16, _SAMPLES // max(num_frames, 1)))
    grid, true_depths = sample_grid(*truth.size, most), []
    for i in range(num_frames):
        frame = truth.frame(i)
        true, true_points = frame.depth.ravel()[grid], frame.points(grid)
        true_depths.append(true[true > 0])
        for name, branch in everyone.items():
            full = branch.depth_at(i)
            depth, points = full.ravel()[grid], branch.points_at(i, full, grid)
            both = (depth > 0) & (true > 0)
            tallies[name].ratios.append(true[both] / depth[both])
            if points is not None and true_points is not None:
                tallies[name].points.append((points[both], true_points[both]))
    for tally in tallies.values():
        tally.scale = measures.median(np.concatenate(tally.ratios))
        if tally.points:
            tally.point_scale = measures.l1_point_scale(*(np.concatenate(part) for part in zip(*tally.points)))
        tally.ratios, tally.points = [], []
    return measures.median(np.concatenate(true_depths))


def _add_frame(
    tally: _Tally, i: int, frame: TrueFrame, depth: np.ndarray, points: np.ndarray | None, pixels: np.ndarray
) -> None:
    """Score frame i at `pixels` (N,); `points` (N, 3) are the branch's points there."""
    found = depth > 0
    tally.filled.add(found)
    tally.curves["filled"][i] = found.mean()
    true, predicted = frame.depth.ravel()[pixels], depth.ravel()[pixels]
    valid = true > 0
    if not valid.any():
        return
    both = valid & (predicted > 0)
    tally.coverage.add(both[valid])
    tally.curves["coverage"][i] = both[valid].mean()
    true, predicted = true[both], predicted[both]
    if not len(true):
        return
    errors = measures.absolute_relative_errors(tally.scale * predicted, true)
    own = measures.median_ratio(predicted, true)
    tally.curves["abs_rel"][i], tally.curves["scale"][i] = errors.mean(), own
    tally.curves["spearman"][i] = _order(predicted, true)
    tally.abs_rel.add(errors)
    tally.delta1.add(measures.within_delta(tally.scale * predicted, true))
    tally.abs_rel_per_frame.add(measures.absolute_relative_errors(own * predicted, true))
    tally.delta1_per_frame.add(measures.within_delta(own * predicted, true))
    true_points = None if points is None else frame.points(pixels)
    if points is not None and true_points is not None:
        errors = measures.relative_point_errors(tally.point_scale * points[both], true_points[both])
        tally.point_rel.add(errors)
        tally.point_inliers.add(errors < measures.INLIER_THRESHOLD)


def _order(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return the rank correlation of one frame's depths (N,); NaN where the truth has no order to speak of."""
    if len(true) < ORDERED_PIXELS or not measures.relief(true) >= RELIEF:
        return NAN
    step = -(-len(true) // _ORDERED_PER_FRAME)
    return rank_correlation(predicted[::step], true[::step])


def _steps(
    a: TrueFrame,
    depths_a: Mapping[str, np.ndarray],
    b: TrueFrame,
    depths_b: Mapping[str, np.ndarray],
    pixels: np.ndarray,
) -> dict[str, float]:
    """Return by branch the median relative step of static depth from frame a to b; only branches with depth.

    The expected change of a point's depth follows from its place and the poses, and depends little on its true depth.
    So the noise of measured depth has little effect.
    """
    source, place, z = matches(a, b, pixels)
    found = {}
    for name, depth_a in depths_a.items():
        before, after = depth_a.ravel()[source], depth_between(depths_b[name], place)
        both = (before > 0) & (after > 0)
        if both.any():
            true_before = a.depth.ravel()[source[both]]
            found[name] = measures.median(measures.relative_step(before[both], after[both], true_before, z[both]))
    return found


def _cross_seams(
    everyone: Mapping[str, AnyBranch],
    tallies: Mapping[str, _Tally],
    truth: Truth,
    seams: list[tuple[int, int]],
    pixels: np.ndarray,
) -> None:
    """Measure steps from the last frame before each overlap to the first one after it."""
    last = len(truth.posed) - 1
    for start, stop in seams:
        a, b = start - 1, min(stop, last)
        if a < 0 or b <= a:
            continue
        depths = [{name: branch.depth_at(i) for name, branch in everyone.items()} for i in (a, b)]
        for name, step in _steps(truth.frame(a), depths[0], truth.frame(b), depths[1], pixels).items():
            tallies[name].across_seams.append(step)


def _summary(tally: _Tally, intrinsics: np.ndarray | None, truth: Truth, seams: list[tuple[int, int]]) -> DepthScores:
    # A seam has two edges: the first frame of the next segment and the last frame of the earlier one.
    at_edge = np.isin(np.arange(tally.num_frames), [edge for seam in seams for edge in seam])
    flicker = tally.curves["flicker"]
    known = np.isfinite(flicker)
    at_seams = flicker[known & at_edge]
    order = tally.curves["spearman"]
    order = order[np.isfinite(order)]
    return DepthScores(
        filled=tally.filled.value,
        coverage=tally.coverage.value,
        scale=tally.scale,
        abs_rel=tally.abs_rel.value,
        delta1=tally.delta1.value,
        abs_rel_per_frame=tally.abs_rel_per_frame.value,
        delta1_per_frame=tally.delta1_per_frame.value,
        point_rel=tally.point_rel.value,
        point_inliers=tally.point_inliers.value,
        spearman=measures.median(order),
        spearman_worst=float(order.min()) if len(order) else NAN,
        reversed_frames=float((order <= 0).mean()) if len(order) else NAN,
        flicker=measures.median(flicker[known & ~at_edge]),
        seam_jump=measures.median(at_seams),
        seam_jump_worst=float(at_seams.max()) if len(at_seams) else NAN,
        seam_drift=measures.median(np.array(tally.across_seams)),
        scale_drift=measures.scale_drift(tally.curves["scale"]),
        focal_error=measures.focal_error(intrinsics, truth.intrinsics),
    )
