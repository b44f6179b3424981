"""The metrics of TAPVid-3D: 3D-AJ, APD3D and OA (Koppula et al. 2024, arXiv 2407.05921).

All positions are in the camera frame of their frame. For threshold delta px, true point P and focal length f, a
prediction is within reach if its distance from P is below r = delta * P_z / f: at the depth of P, r spans delta pixels.
f is sqrt(fx * fy) in a picture whose shorter side is 256 px, and delta is 1, 2, 4, 8 and 16.

APD3D  of the truly visible points, the share within reach, whatever the prediction says of their visibility
3D-AJ  TP / (V + FP): TP are truly visible points that are predicted visible and within reach, V are the truly visible
       points, FP are points predicted visible that are truly hidden or out of reach
OA     of all points in all frames, the share whose visibility is predicted right

APD3D and 3D-AJ are means over the five thresholds. Each count runs over all points and frames of a video, the queries'
own frames included, as in the benchmark's program (`tapnet/tapvid3d/evaluation/metrics.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.evaluate.measures import median
from geoflow.evaluate.scores import NAN, ScaledTrackScores

THRESHOLDS_PX = (1, 2, 4, 8, 16)
SHORTER_SIDE = 256  # px of the picture in which thresholds are pixels
_LEAST_NORM = 1e-6  # the benchmark's floor of a length


@dataclass(frozen=True)
class ComparedTracks:
    """N true points in T frames, and what is predicted for each. Lengths of one side have one unit, camera frames."""

    true_xyz: np.ndarray  # (T, N, 3) float64; NaN where unknown
    true_visible: np.ndarray  # (T, N) bool
    xyz: np.ndarray  # (T, N, 3) float64; NaN where unknown, which is never within reach
    visible: np.ndarray  # (T, N) bool
    predicted: np.ndarray  # (N,) bool; a point without a prediction is right in no frame
    query: np.ndarray  # (N,) int64: the frame of each point's query, -1 if it is not among the T
    focal: np.ndarray  # (T,) float64 px: sqrt(fx * fy) in a picture whose shorter side is 256 px
    counted: np.ndarray  # (T, N) bool: False where the truth does not know the point

    def answered(self) -> ComparedTracks:
        """Return the points alone that have a prediction."""
        which = self.predicted
        return ComparedTracks(
            true_xyz=self.true_xyz[:, which],
            true_visible=self.true_visible[:, which],
            xyz=self.xyz[:, which],
            visible=self.visible[:, which],
            predicted=which[which],
            query=self.query[which],
            focal=self.focal,
            counted=self.counted[:, which],
        )


def median_scale(tracks: ComparedTracks) -> float:
    """Return the factor that brings predictions to the truth: one for the video, by medians.

    It is the median distance from the camera of the true points over that of the predicted ones, both over the points
    that are visible in both. NaN if there is no such point.
    """
    both = tracks.true_visible & tracks.visible & tracks.counted & np.isfinite(tracks.xyz).all(-1)
    true, found = (median(np.maximum(np.linalg.norm(xyz[both], axis=-1), _LEAST_NORM)) for xyz in _sides(tracks))
    return true / found


def trajectory_scales(tracks: ComparedTracks) -> np.ndarray:
    """Return for each point the factor that gives its prediction the true depth in the query's frame: (N,) float64.

    NaN where one of the two depths is unknown or not positive.
    """
    row, point = np.maximum(tracks.query, 0), np.arange(len(tracks.query))
    true, found = (xyz[row, point, 2] for xyz in _sides(tracks))
    known = (tracks.query >= 0) & (true > 0) & (found > 0)
    return np.divide(true, found, out=np.full(len(row), NAN), where=known)


def _sides(tracks: ComparedTracks) -> tuple[np.ndarray, np.ndarray]:
    return tracks.true_xyz, tracks.xyz


def scaled_scores(tracks: ComparedTracks, scale: float | np.ndarray) -> ScaledTrackScores:
    """Return the scores of predictions multiplied by `scale`, one number or one for each point (N,).

    Where the scale is NaN, nothing is within reach.
    """
    factor = np.broadcast_to(np.asarray(scale, np.float64), tracks.predicted.shape)
    distance = np.linalg.norm(tracks.xyz * factor[:, None] - tracks.true_xyz, axis=-1)
    pixel = tracks.true_xyz[..., 2] / tracks.focal[:, None]  # the size of a pixel at the true point
    seen, claimed = tracks.true_visible & tracks.counted, tracks.visible & tracks.counted
    within, jaccard = [], []
    for threshold in THRESHOLDS_PX:
        near = distance < threshold * pixel
        right = seen & near
        false = claimed & ~right
        within.append(_share(right.sum(), seen.sum()))
        jaccard.append(_share((right & claimed).sum(), seen.sum() + false.sum()))
    agrees = (tracks.visible == tracks.true_visible) & tracks.predicted & tracks.counted
    return ScaledTrackScores(
        jaccard=float(np.mean(jaccard)),
        within=float(np.mean(within)),
        occlusion_accuracy=_share(agrees.sum(), tracks.counted.sum()),
        scale=median(factor[np.isfinite(factor)]),
        jaccard_at=tuple(jaccard),
        within_at=tuple(within),
    )


def _share(part: int, whole: int) -> float:
    return float(part) / float(whole) if whole else NAN
