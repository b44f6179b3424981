"""Depth branches against the truth: two passes over the frames, one frame pair in memory at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from geoflow.evaluate import metrics
from geoflow.evaluate.prediction import Branch
from geoflow.evaluate.scores import DepthScores
from geoflow.evaluate.truth import TrueFrame, Truth, matches, sample_grid

# Pixels that the one scale per video is estimated from: per frame, and in all, which bounds memory for long videos.
_SAMPLES_PER_FRAME = 4096
_SAMPLES = 2_000_000


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
        return self.total / self.count if self.count else float("nan")


@dataclass
class _Tally:
    """What one branch has collected so far."""

    ratios: list[np.ndarray] = field(default_factory=list)
    points: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    scale: float = float("nan")
    point_scale: float = float("nan")
    coverage: _Mean = field(default_factory=_Mean)
    abs_rel: _Mean = field(default_factory=_Mean)
    delta1: _Mean = field(default_factory=_Mean)
    abs_rel_per_frame: _Mean = field(default_factory=_Mean)
    delta1_per_frame: _Mean = field(default_factory=_Mean)
    point_rel: _Mean = field(default_factory=_Mean)
    point_inliers: _Mean = field(default_factory=_Mean)
    steps: dict[int, float] = field(default_factory=dict)  # frame a of a pair (a, a + 1) -> median step
    drifts: list[float] = field(default_factory=list)


class _ConstantPlane:
    """The baseline that knows nothing: depth 1 everywhere, seen through the true camera."""

    def __init__(self, truth: Truth) -> None:
        self._size = truth.size
        self.intrinsics = None

    def depth_at(self, i: int) -> np.ndarray:
        return np.ones(self._size, np.float32)

    def points_at(self, i: int, depth: np.ndarray) -> None:
        return None


AnyBranch = Branch | _ConstantPlane


def score_depths(
    branches: Mapping[str, Branch], truth: Truth, num_frames: int, seams: list[tuple[int, int]]
) -> tuple[dict[str, DepthScores], float]:
    """Scores per branch, the baseline under "constant_plane"; and the scene's median depth in metres."""
    everyone: dict[str, AnyBranch] = {**branches, "constant_plane": _ConstantPlane(truth)}
    tallies = {name: _Tally() for name in everyone}
    scene_depth = _estimate_scales(everyone, tallies, truth, num_frames)
    previous: tuple[TrueFrame, dict[str, np.ndarray]] | None = None
    for i in range(num_frames):
        frame = truth.frame(i)
        depths = {name: branch.depth_at(i) for name, branch in everyone.items()}
        for name, branch in everyone.items():
            _add_frame(tallies[name], frame, depths[name], branch.points_at(i, depths[name]))
        if previous is not None:
            for name, step in _steps(*previous, frame, depths).items():
                tallies[name].steps[i - 1] = step
        previous = frame, depths
    _add_drifts(everyone, tallies, truth, seams, num_frames)
    scores = {
        name: _summary(tally, everyone[name].intrinsics, truth, seams, num_frames) for name, tally in tallies.items()
    }
    return scores, scene_depth


def _estimate_scales(
    everyone: Mapping[str, AnyBranch], tallies: Mapping[str, _Tally], truth: Truth, num_frames: int
) -> float:
    """First pass: one scale per branch from an even sample of pixels; returns the true median depth."""
    most = min(_SAMPLES_PER_FRAME, max(16, _SAMPLES // max(num_frames, 1)))
    grid, true_depths = sample_grid(*truth.size, most), []
    for i in range(num_frames):
        frame = truth.frame(i)
        true, true_points = frame.depth.ravel()[grid], frame.points()
        true_depths.append(true[true > 0])
        for name, branch in everyone.items():
            full = branch.depth_at(i)
            depth, points = full.ravel()[grid], branch.points_at(i, full)
            both = (depth > 0) & (true > 0)
            tallies[name].ratios.append(true[both] / depth[both])
            if points is not None and true_points is not None:
                pair = (p.reshape(-1, 3)[grid][both] for p in (points, true_points))
                tallies[name].points.append((next(pair), next(pair)))
    for tally in tallies.values():
        tally.scale = metrics.median(np.concatenate(tally.ratios))
        if tally.points:
            tally.point_scale = metrics.l1_point_scale(*(np.concatenate(part) for part in zip(*tally.points)))
        tally.ratios, tally.points = [], []
    return metrics.median(np.concatenate(true_depths))


def _add_frame(tally: _Tally, frame: TrueFrame, depth: np.ndarray, points: np.ndarray | None) -> None:
    both = frame.valid & (depth > 0)
    tally.coverage.add(both[frame.valid])
    true, predicted = frame.depth[both], depth[both]
    if not len(true):
        return
    tally.abs_rel.add(metrics.absolute_relative_errors(tally.scale * predicted, true))
    tally.delta1.add(metrics.within_delta(tally.scale * predicted, true))
    own = metrics.median_ratio(predicted, true)
    tally.abs_rel_per_frame.add(metrics.absolute_relative_errors(own * predicted, true))
    tally.delta1_per_frame.add(metrics.within_delta(own * predicted, true))
    true_points = None if points is None else frame.points()
    if points is not None and true_points is not None:
        errors = metrics.relative_point_errors(tally.point_scale * points[both], true_points[both])
        tally.point_rel.add(errors)
        tally.point_inliers.add(errors < metrics.INLIER_THRESHOLD)


def _steps(
    a: TrueFrame, depths_a: Mapping[str, np.ndarray], b: TrueFrame, depths_b: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Per branch, the median relative step of static depth from frame a to frame b; branches without any left out."""
    source, target = matches(a, b)
    found = {}
    for name, depth_a in depths_a.items():
        before, after = depth_a.ravel()[source], depths_b[name].ravel()[target]
        both = (before > 0) & (after > 0)
        if both.any():
            true_before, true_after = a.depth.ravel()[source[both]], b.depth.ravel()[target[both]]
            found[name] = metrics.median(metrics.relative_step(before[both], after[both], true_before, true_after))
    return found


def _add_drifts(
    everyone: Mapping[str, AnyBranch],
    tallies: Mapping[str, _Tally],
    truth: Truth,
    seams: list[tuple[int, int]],
    num_frames: int,
) -> None:
    for start, stop in seams:
        a, b = start - 1, min(stop, num_frames - 1)
        if a < 0 or b <= a:
            continue
        depths = [{name: branch.depth_at(i) for name, branch in everyone.items()} for i in (a, b)]
        for name, step in _steps(truth.frame(a), depths[0], truth.frame(b), depths[1]).items():
            tallies[name].drifts.append(step)


def _summary(
    tally: _Tally, intrinsics: np.ndarray | None, truth: Truth, seams: list[tuple[int, int]], num_frames: int
) -> DepthScores:
    # A seam has two edges: where the next segment's frames set in and where the earlier segment's end.
    edges = {edge - 1 for seam in seams for edge in seam if 0 < edge < num_frames}
    at_seams = [step for a, step in tally.steps.items() if a in edges]
    elsewhere = [step for a, step in tally.steps.items() if a not in edges]
    return DepthScores(
        coverage=tally.coverage.value,
        scale=tally.scale,
        abs_rel=tally.abs_rel.value,
        delta1=tally.delta1.value,
        abs_rel_per_frame=tally.abs_rel_per_frame.value,
        delta1_per_frame=tally.delta1_per_frame.value,
        point_rel=tally.point_rel.value,
        point_inliers=tally.point_inliers.value,
        flicker=metrics.median(np.array(elsewhere)),
        seam_jump=metrics.median(np.array(at_seams)),
        seam_jump_worst=max(at_seams, default=float("nan")),
        seam_drift=metrics.median(np.array(tally.drifts)),
        focal_error=metrics.focal_error(intrinsics, truth.intrinsics),
    )
