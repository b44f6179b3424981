"""The evaluation of one store against its ground truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from geoflow.evaluate import measures
from geoflow.evaluate.depth import score_depths
from geoflow.evaluate.motion_scores import score_motion, true_motion
from geoflow.evaluate.object_pose_scores import with_poses
from geoflow.evaluate.object_scores import score_objects
from geoflow.evaluate.prediction import Prediction
from geoflow.evaluate.queried_tracks import RADIUS_PX, score_point_tracks
from geoflow.evaluate.same_clip import check_same_clip
from geoflow.evaluate.score_table import HEADINGS
from geoflow.evaluate.scores import Curves, PoseScores, Scores, TrackScores
from geoflow.evaluate.tracks import score_tracks
from geoflow.evaluate.trajectory import align_worlds, score_poses
from geoflow.evaluate.true_trajectories import read_trajectories, trajectories_of
from geoflow.evaluate.truth import Truth
from geoflow.evaluate.unscored import sentences, unscored
from geoflow.synth.groundtruth import load_ground_truth


def evaluate_store(
    store_path: str | Path,
    gt_path: str | Path,
    *,
    tracks: str | Path | None = None,
    same_frames: bool = False,
    radius_px: float = RADIUS_PX,
) -> Scores:
    """Score a `videos/*.h5` against a ground-truth file; both are read frame by frame.

    `tracks` is another truth for `point_tracks`, such as a TAPVid-3D file; otherwise the tracks of the ground truth
    are used, if it has any. `radius_px` is that of `evaluate_tracks`.

    A score is None if the store or the truth lacks its data; `unscored` and the notes say why. A store of another size
    or frame rate than the truth is compared at its own frames and pixels. With `same_frames` the clip's file may be
    another one than the truth states, such as a copy in another format.

    Raises InputError if a file is missing or of another kind, or if the two are not of the same clip.
    """
    store_path, gt_path = Path(store_path), Path(gt_path)
    with Prediction(store_path) as prediction, load_ground_truth(gt_path) as gt:
        check_same_clip(prediction, gt, same_frames=same_frames)
        truth = Truth(gt, prediction)
        seams = prediction.seams()
        found = score_depths(prediction.branches, truth, prediction.num_frames, seams)
        motion = true_motion(truth, found.scene_depth)
        depths = found.scores
        if motion in ("still", "rotating"):
            depths = {name: replace(scores, invented=scores.filled) for name, scores in depths.items()}
        given = trajectories_of(gt) if tracks is None else read_trajectories(tracks)
        if tracks is not None and given is not None:
            check_same_clip(prediction, given, same_frames=same_frames)
        objects, without_objects = score_objects(prediction, truth)
        points = score_point_tracks(prediction, given, radius_px)
        poses, identity, pose_curves = _pose_scores(prediction, truth)
        depth_curves = {name: curves for name, curves in found.curves.items() if name != "constant_plane"}
        scores = Scores(
            video=store_path.stem,
            num_frames=prediction.num_frames,
            prior=depths.get("prior"),
            geometry=depths.get("geometry"),
            camera=depths.get("camera"),
            constant_plane=depths["constant_plane"],
            poses=poses,
            identity_pose=identity,
            tracks=_track_scores(prediction, truth, found.scene_depth),
            point_tracks=points.scores,
            motion=score_motion(prediction.array("camera/motion"), motion),
            curves=Curves(prediction.frame_index, tuple(seams), depth_curves, pose_curves),
            key=prediction.key,
            objects=with_poses(objects, prediction, truth),
        )
        reasons = {**unscored(scores, prediction, truth, found.curves, motion), **points.unscored}
        if objects is None:
            reasons["objects"] = without_objects
        return replace(scores, notes=(*_notes(truth, reasons), *points.notes), unscored=reasons)


def _pose_scores(prediction: Prediction, truth: Truth) -> tuple[PoseScores | None, PoseScores, dict[str, np.ndarray]]:
    """Return the scores of the camera branch, those of a camera that never moves, and the branch's curves."""
    everyone = np.ones(prediction.num_frames, bool)
    standing = np.broadcast_to(np.eye(4), truth.cam_from_world.shape).copy()
    identity, _ = score_poses(standing, everyone, truth)
    found = prediction.poses()
    if found is None:
        return None, identity, {}
    focal = measures.focal_error(prediction.array("camera/intrinsics"), truth.intrinsics)
    scores, curves = score_poses(*found, truth, focal)
    return scores, identity, curves


def _track_scores(prediction: Prediction, truth: Truth, scene_depth: float) -> TrackScores | None:
    stored = prediction.tracks()
    if stored is None:
        return None
    if not truth.located.any() or not np.isfinite(scene_depth):
        return None
    poses = prediction.poses()
    world = None if poses is None else align_worlds(*poses, truth)
    return score_tracks(stored, truth, world, scene_depth)


def _notes(truth: Truth, reasons: dict[str, str]) -> tuple[str, ...]:
    posed, frames = int(truth.posed.sum()), len(truth.posed)
    partly = [f"the truth has the pose of {posed} of {frames} frames; the others are left out"]
    return (*(partly if 0 < posed < frames else []), *sentences(reasons, HEADINGS))
