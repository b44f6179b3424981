"""One store held against another by the mathematics of `evaluate`: B takes the place of the truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from geoflow.comparison.found import Between
from geoflow.evaluate import measures
from geoflow.evaluate.depth import score_depths
from geoflow.evaluate.prediction import Branch, Prediction
from geoflow.evaluate.scores import PoseScores
from geoflow.evaluate.trajectory import score_poses
from geoflow.evaluate.truth import Truth
from geoflow.synth.groundtruth import GroundTruth


class _BySource:
    """Maps (H, W) of a store, looked up by number of the source frame; `blank` where the store has no such frame."""

    def __init__(self, read: Callable[[int], np.ndarray], index: np.ndarray, shape: tuple[int, int, int], blank: float):
        self.shape = shape
        self._read, self._row = read, {int(source): i for i, source in enumerate(index)}
        self._blank = np.full(shape[1:], blank)

    def __getitem__(self, source: int) -> np.ndarray:
        row = self._row.get(int(source))
        return self._blank if row is None else self._read(row)


def between(a: Prediction, b: Prediction, *, metric: bool) -> Between:
    """Score A against B, branch by branch; `metric` says that B is in metres.

    Both must hold source frames in common, and pictures of one shape.
    """
    depth = {}
    for name in a.branches.keys() & b.branches.keys():
        truth = Truth(_as_truth(b, b.branches[name], a, metric), a)
        depth[name] = score_depths({name: a.branches[name]}, truth, a.num_frames, a.seams()).scores[name]
    common = np.intersect1d(a.frame_index, b.frame_index)
    ordered = {name: depth[name] for name in a.branches if name in depth}
    return Between(len(common), ordered, _poses(a, b, metric))


def _poses(a: Prediction, b: Prediction, metric: bool) -> PoseScores | None:
    found = a.poses()
    if found is None or b.poses() is None:
        return None
    truth = Truth(_as_truth(b, None, a, metric), a)
    scores, _ = score_poses(*found, truth, measures.focal_error(a.array("camera/intrinsics"), truth.intrinsics))
    return scores


def _as_truth(b: Prediction, branch: Branch | None, a: Prediction, metric: bool) -> GroundTruth:
    """Return the store as a ground truth of all source frames that either holds; unknown where B lacks the frame.

    The depth and intrinsics are those of `branch`, by default no depth and the intrinsics of the cameras.
    """
    count = 1 + int(max(a.frame_index.max(initial=-1), b.frame_index.max(initial=-1)))
    shape = count, b.height, b.width
    nothing = np.zeros(shape[1:], np.float32)
    intrinsics = b.array("camera/intrinsics") if branch is None else branch.intrinsics
    poses = b.poses()
    known = None if poses is None else np.where(poses[1][:, None, None], poses[0], np.nan)
    return GroundTruth(
        path=b.path,
        fps=0.0,  # not used here
        intrinsics=_spread(intrinsics, b.frame_index, (count, 3, 3)),
        cam_from_world=_spread(known, b.frame_index, (count, 4, 4)),
        depth=_BySource(branch.depth_at if branch else lambda i: nothing, b.frame_index, shape, 0),
        moving=_BySource(lambda i: nothing > 0, b.frame_index, shape, False),
        label=None,
        bodies=None,
        tracks=None,
        metric=metric,
        motion=None,
        source_sha256=b.source_sha256,
        _file=None,
    )


def _spread(rows: np.ndarray | None, index: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return an array by source frame of an array by frame of the store; NaN where there is none."""
    spread = np.full(shape, np.nan)
    if rows is not None:
        spread[index] = rows
    return spread
