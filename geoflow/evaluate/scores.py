"""The result of an evaluation: typed, and convertible to plain values for JSON (NaN and absent become null)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geoflow.evaluate.object_scores import ObjectScores

NAN = float("nan")


@dataclass(frozen=True)
class DepthScores:
    """Scores of one branch's depth. Shares are 0..1; unless stated otherwise, one scale per video is used."""

    filled: float  # share of all pixels with depth
    coverage: float  # the same, among pixels whose true depth is known
    scale: float  # true / predicted
    abs_rel: float = NAN
    delta1: float = NAN  # share within a factor of 1.25
    abs_rel_per_frame: float = NAN  # at the best scale of each frame
    delta1_per_frame: float = NAN
    point_rel: float = NAN  # this and the next scores of points need intrinsics
    point_inliers: float = NAN
    spearman: float = NAN  # rank correlation with the true depth, median over the frames; needs no scale
    spearman_worst: float = NAN  # of the frame with the lowest
    reversed_frames: float = NAN  # share of the frames, among those with a rank correlation, where it is not positive
    flicker: float = NAN  # median relative step of static depth from frame to frame
    seam_jump: float = NAN  # the same at the edges of each seam; equal to the flicker if a seam is invisible
    seam_jump_worst: float = NAN
    seam_drift: float = NAN  # from the last frame before an overlap to the first after it
    scale_drift: float = NAN  # relative change of the frames' scale from the first tenth of the video to the last
    invented: float = NAN  # share of pixels with depth though the camera never moves from its place
    focal_error: float = NAN  # relative


@dataclass(frozen=True)
class PoseScores:
    """Scores of the camera path, after one Sim(3) alignment."""

    frames_posed: float  # share of frames
    frames_oriented: float = NAN  # share of frames with a rotation, with or without a position
    ate_percent: float = NAN  # RMSE in percent of the path's length
    ate_m: float = NAN
    rpe_translation_m: float = NAN  # RMSE over neighbouring frames
    rpe_rotation_deg: float = NAN
    drift_10_percent: float = NAN  # error over stretches of a tenth of the path, in percent of their length
    drift_50_percent: float = NAN  # over half of the path
    rotation_deg: float = NAN  # mean error of the orientations, after one rotation of the world
    path_length_m: float = NAN
    focal_error: float = NAN


@dataclass(frozen=True)
class MotionScores:
    """What the store says that the camera does: shares of frames."""

    unknown: float
    moving: float
    still: float
    rotating: float
    truth: str | None  # moving, still or rotating; None if the truth does not tell
    right: float = NAN  # share of frames that agree with the truth


@dataclass(frozen=True)
class Curves:
    """Figures per frame, (T,) each; NaN where nothing can be measured."""

    frame: np.ndarray  # the frame's number in the source
    seams: tuple[tuple[int, int], ...]  # frames [start, stop) of the store that neighbouring segments share
    depth: dict[
        str, dict[str, np.ndarray]
    ]  # by branch: filled, coverage, abs_rel, scale, spearman, flicker (from the last frame)
    poses: dict[str, np.ndarray]  # position_percent (of the path), rotation_deg


@dataclass(frozen=True)
class TrackScores:
    """3D tracks that start on static surfaces, after the alignment of the camera path."""

    tracks: int  # tracks on static surfaces
    visible_frames: float = NAN  # mean number of frames in which such a track is marked visible
    error_percent: float = NAN  # median 3D error in percent of the scene's median depth
    error_m: float = NAN
    uv_error_px: float = NAN  # median 2D error; needs no alignment
    lasting: int = 0  # those whose point the camera sees in every frame from the query to the end
    lasting_kept: float = NAN  # share of these, 0..1, that follow their point to the end


@dataclass(frozen=True)
class ScaledTrackScores:
    """TAPVid-3D's metrics under one scaling of the predictions (`tapvid_metrics`). Shares are 0..1."""

    jaccard: float  # 3D-AJ
    within: float  # APD3D
    occlusion_accuracy: float  # OA; the same under every scaling
    scale: float = NAN  # true / predicted; the median of the tracks' own, if each has one
    jaccard_at: tuple[float, ...] = ()  # at 1, 2, 4, 8 and 16 px
    within_at: tuple[float, ...] = ()


@dataclass(frozen=True)
class PointTrackScores:
    """3D tracks against the true trajectories of the points that queries name."""

    queries: int
    by_query: int  # queries for which a track was made
    nearest: int  # queries answered by the nearest track
    missed: int  # queries without a track: right in no frame
    radius_px: float  # how far the nearest track may be, px of a picture whose shorter side is 256 px
    median: ScaledTrackScores  # one scale per video
    per_trajectory: ScaledTrackScores  # one scale per track, by its depth in the query's frame
    unscaled: ScaledTrackScores | None  # None unless both sides are in metres
    answered: ScaledTrackScores | None  # one scale per video, of the queries that have a track alone; None without one

    def by_scaling(self) -> dict[str, ScaledTrackScores]:
        """Return the scores by the name of their scaling, and `answered`: those that there are."""
        rows = {name: getattr(self, name) for name in ("median", "per_trajectory", "unscaled", "answered")}
        return {name: row for name, row in rows.items() if row is not None}


@dataclass(frozen=True)
class TrackEvaluation:
    """The scores of one video's tracks alone; the parts have the names that they have in `Scores`."""

    video: str
    num_frames: int
    point_tracks: PointTrackScores | None
    notes: tuple[str, ...] = ()
    unscored: dict[str, str] = field(default_factory=dict)
    key: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for `json.dumps`; what could not be measured is None."""
        return plain(dataclasses.asdict(self))


@dataclass(frozen=True)
class Scores:
    """All scores of one video; a row is None if the store has nothing to score there."""

    video: str
    num_frames: int
    prior: DepthScores | None
    geometry: DepthScores | None
    camera: DepthScores | None
    constant_plane: DepthScores  # baseline: every pixel at the same depth
    poses: PoseScores | None
    identity_pose: PoseScores  # baseline: the camera never moves
    tracks: TrackScores | None
    point_tracks: PointTrackScores | None
    motion: MotionScores | None  # None if the store says nothing
    curves: Curves
    notes: tuple[str, ...] = ()
    unscored: dict[str, str] = field(default_factory=dict)  # row.figure, or row -> why it could not be measured
    key: str = ""  # key of the work that the store holds; "" if the store has none
    objects: ObjectScores | None = None

    def __repr__(self) -> str:
        branches = {name: getattr(self, name) for name in ("prior", "geometry", "camera")}
        said = [f"{name} AbsRel {row.abs_rel:.3f}" for name, row in branches.items() if row is not None]
        said += [] if self.poses is None else [f"ATE {self.poses.ate_percent:.2f} % of the path"]
        said += [] if self.tracks is None else [f"tracks {self.tracks.error_percent:.2f} % of the scene's depth"]
        said += [] if self.objects is None else [f"masks IoU {self.objects.mean_iou:.3f}"]
        return f"Scores({self.video!r}, {self.num_frames} frames: {', '.join(said) or 'nothing to score'})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for `json.dumps`; what could not be measured is None."""
        return plain(dataclasses.asdict(self))


def plain(value: Any) -> Any:
    """Return a value of JSON types; NaN becomes None, arrays become lists."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return [plain(float(f"{x:.5g}")) if value.dtype.kind == "f" else int(x) for x in value]
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
