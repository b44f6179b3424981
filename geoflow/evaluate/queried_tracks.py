"""A store's tracks against the true trajectories of given points, by the metrics of TAPVid-3D."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoflow.evaluate.prediction import Prediction, StoredTracks
from geoflow.evaluate.query_matching import PixelGrid, QueryMatches, match_queries
from geoflow.evaluate.same_clip import check_same_clip
from geoflow.evaluate.scores import PointTrackScores, TrackEvaluation
from geoflow.evaluate.tapvid_metrics import (
    SHORTER_SIDE,
    ComparedTracks,
    median_scale,
    scaled_scores,
    trajectory_scales,
)
from geoflow.evaluate.true_trajectories import Trajectories, read_trajectories

RADIUS_PX = 4.0  # of a picture whose shorter side is 256 px; a track that starts further off is another point's
NO_TRACKS = "the store holds no tracks"
NO_TRAJECTORIES = "the truth has no tracks"
NOTHING_SEEN = "no query's point is visible in a frame of the store"


@dataclass(frozen=True)
class PointTrackFindings:
    """The scores, None if there are none; what to say about them; and why some figures are missing."""

    scores: PointTrackScores | None
    notes: tuple[str, ...]
    unscored: dict[str, str]  # by `point_tracks`, or `point_tracks.figure`


def evaluate_tracks(
    store_path: str | Path, truth_path: str | Path, *, same_frames: bool = False, radius_px: float = RADIUS_PX
) -> TrackEvaluation:
    """Score a store's tracks against a TAPVid-3D file, or against the tracks of a GeoFlow ground truth.

    Row k of the truth is frame k of the clip. `radius_px` is how far a track may be from a query that it was not made
    for, in px of a picture whose shorter side is 256 px.

    Raises InputError if a file is missing or of another kind, or if the two are not of the same clip.
    """
    with Prediction(Path(store_path)) as prediction:
        truth = read_trajectories(truth_path)
        check_same_clip(prediction, truth, same_frames=same_frames)
        found = score_point_tracks(prediction, truth, radius_px)
        return TrackEvaluation(
            video=prediction.path.stem,
            num_frames=prediction.num_frames,
            point_tracks=found.scores,
            notes=found.notes,
            unscored=found.unscored,
            key=prediction.key,
        )


def score_point_tracks(
    prediction: Prediction, truth: Trajectories | None, radius_px: float = RADIUS_PX
) -> PointTrackFindings:
    """Score the store's tracks over its own frames. None if the store or the truth has no tracks."""
    stored = prediction.tracks()
    if stored is None or truth is None:
        reason = NO_TRACKS if stored is None else NO_TRAJECTORIES
        return PointTrackFindings(None, (), {"point_tracks": reason})
    points, frame, uv = truth.queries_at(prediction.frame_index)
    if not len(points):
        return PointTrackFindings(None, (), {"point_tracks": NOTHING_SEEN})
    side = SHORTER_SIDE / min(truth.size)
    per_pixel = truth.size[1] / prediction.width * side, truth.size[0] / prediction.height * side
    wanted = PixelGrid((side, side)).measured(uv)
    matches = match_queries(stored, frame, wanted, PixelGrid(per_pixel), radius_px)
    compared = _compared(prediction, stored, truth, points, frame, matches)
    answered = compared.answered()
    scores = PointTrackScores(
        queries=len(points),
        by_query=int(matches.by_query.sum()),
        nearest=int((~matches.by_query & (matches.track >= 0)).sum()),
        missed=int((matches.track < 0).sum()),
        radius_px=radius_px,
        median=scaled_scores(compared, median_scale(compared)),
        per_trajectory=scaled_scores(compared, trajectory_scales(compared)),
        unscaled=scaled_scores(compared, 1.0) if truth.metric and prediction.metric else None,
        answered=scaled_scores(answered, median_scale(answered)) if answered.predicted.size else None,
    )
    notes = tuple(_notes(prediction, truth, points, frame, compared))
    return PointTrackFindings(scores, notes, _unscored(scores, prediction, truth))


def _compared(
    prediction: Prediction,
    stored: StoredTracks,
    truth: Trajectories,
    points: np.ndarray,
    frame: np.ndarray,
    matches: QueryMatches,
) -> ComparedTracks:
    """Lay the matched tracks, taken into the store's cameras, beside the true points: NaN and hidden without one."""
    predicted, index = matches.track >= 0, prediction.frame_index
    xyz = np.full((len(index), len(points), 3), np.nan)
    visible = np.zeros(xyz.shape[:2], bool)
    world, visible[:, predicted] = stored.columns(matches.track[predicted])
    poses = prediction.poses()
    if poses is not None:
        cam_from_world = np.where(poses[1][:, None, None], poses[0], np.nan)
        moved = np.einsum("tij,tnj->tni", cam_from_world[:, :3, :3], world)
        xyz[:, predicted] = moved + cam_from_world[:, None, :3, 3]
    true, seen = truth.xyz[index][:, points].astype(np.float64), truth.visible[index][:, points]
    return ComparedTracks(
        true_xyz=true,
        true_visible=seen,
        xyz=xyz,
        visible=visible,
        predicted=predicted,
        query=frame,
        focal=truth.focal[index] * SHORTER_SIDE / min(truth.size),
        counted=truth.posed[index][:, None] & ~(seen & ~np.isfinite(true).all(-1)),
    )


def _notes(
    prediction: Prediction, truth: Trajectories, points: np.ndarray, frame: np.ndarray, compared: ComparedTracks
) -> Iterator[str]:
    held = prediction.num_frames
    if held < truth.num_frames:
        yield f"the point tracks are scored in the {held} frames of the store, of {truth.num_frames} of the truth"
    if (outside := int((frame < 0).sum())) > 0:
        yield f"{outside} of {len(points)} queries are in frames that the store does not hold, and count as missed"
    if (left := int((~compared.counted).sum())) > 0:
        yield f"{left} of {compared.counted.size} true positions are unknown, and are left out"
    poses = prediction.poses()
    posed = 0 if poses is None else int(poses[1].sum())
    if posed < held:
        yield (
            f"{posed} of {held} frames of the store have a camera pose; in the others no track has a place in the "
            "camera's frame, and each visible point counts as missed"
        )
    if truth.queries is None:
        yield "the truth states no queries: a point's query is the first frame of the store in which it is visible"


def _unscored(scores: PointTrackScores, prediction: Prediction, truth: Trajectories) -> dict[str, str]:
    found: dict[str, str] = {}
    if scores.unscaled is None:
        whose = "the store's lengths are not in metres" if truth.metric else "the truth is not in metres"
        found["point_tracks.unscaled"] = whose
    if scores.answered is None:
        found["point_tracks.answered"] = "no query has a track"
    for name, row in scores.by_scaling().items():
        for figure in ("jaccard", "within", "occlusion_accuracy"):
            if np.isnan(getattr(row, figure)):
                found[f"point_tracks.{name}.{figure}"] = NOTHING_SEEN
        if name != "per_trajectory" and np.isnan(row.scale):
            found[f"point_tracks.{name}.scale"] = "no point with a known position is visible in both"
    if np.isnan(scores.per_trajectory.scale):
        found["point_tracks.per_trajectory.scale"] = "no track has a depth in the frame of its query"
    return found
