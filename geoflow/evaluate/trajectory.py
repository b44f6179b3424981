"""Camera paths against the truth, through the evo library (Grupp, 2017)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geoflow.evaluate.scores import NAN, PoseScores
from geoflow.evaluate.truth import Truth
from geoflow.geometry.rigid import Sim3, invert, nearest_rotation


def score_poses(
    cam_from_world: np.ndarray, valid: np.ndarray, truth: Truth, focal_error: float = float("nan")
) -> PoseScores:
    """ATE and RPE over the frames whose pose is predicted, (T, 4, 4) with (T,) bool, and known to the truth.

    ATE is the RMSE of camera centres after the Sim(3) alignment of Umeyama (1991), RPE the RMSE of relative
    motion between neighbouring posed frames at that scale (Sturm et al., IROS 2012). A path whose centres are all
    the same cannot be aligned: it is placed at the mean of the true centres, which is its least-squares fit.
    The path's length is that of the true path from known frame to known frame. ATE in percent of it is left open
    when the true camera stands still, figures in metres when the truth is not in metres.
    """
    share = float(valid.mean()) if len(valid) else 0.0
    length = _path_length(truth)
    metre = 1.0 if truth.metric else NAN
    found = PoseScores(frames_posed=share, path_length_m=metre * length, focal_error=focal_error)
    both = valid & truth.posed
    if both.sum() < 3:
        return found
    ate, rpe_translation, rpe_rotation = _evo_errors(invert(cam_from_world[both]), invert(truth.cam_from_world[both]))
    return replace(
        found,
        ate_percent=100 * ate / length if truth.travels else NAN,
        ate_m=metre * ate,
        rpe_translation_m=metre * rpe_translation,
        rpe_rotation_deg=rpe_rotation,
    )


def _path_length(truth: Truth) -> float:
    """Length of the true path, in the truth's unit; NaN when fewer than two poses are known."""
    centers = invert(truth.cam_from_world[truth.posed])[:, :3, 3]
    return float(np.linalg.norm(np.diff(centers, axis=0), axis=1).sum()) if len(centers) > 1 else NAN


def _evo_errors(world_from_cam: np.ndarray, true_world_from_cam: np.ndarray) -> tuple[float, float, float]:
    from evo.core import metrics, trajectory
    from evo.core.geometry import GeometryException

    estimate = trajectory.PosePath3D(poses_se3=list(_orthonormal(world_from_cam)))
    truth = trajectory.PosePath3D(poses_se3=list(_orthonormal(true_world_from_cam)))
    spread = np.ptp(world_from_cam[:, :3, 3], axis=0).max()
    try:
        if spread < 1e-9:
            raise GeometryException("all centres are the same")
        estimate.align(truth, correct_scale=True)
    except GeometryException:
        standing = world_from_cam.copy()
        standing[:, :3, 3] = true_world_from_cam[:, :3, 3].mean(0)
        estimate = trajectory.PosePath3D(poses_se3=list(_orthonormal(standing)))
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    steps = metrics.RPE(metrics.PoseRelation.translation_part, delta=1, delta_unit=metrics.Unit.frames, all_pairs=True)
    turns = metrics.RPE(
        metrics.PoseRelation.rotation_angle_deg, delta=1, delta_unit=metrics.Unit.frames, all_pairs=True
    )
    for metric in (ape, steps, turns):
        metric.process_data((truth, estimate))
    rmse = metrics.StatisticsType.rmse
    return tuple(float(metric.get_statistic(rmse)) for metric in (ape, steps, turns))  # type: ignore[return-value]


def _orthonormal(poses: np.ndarray) -> np.ndarray:
    """Poses read from float32, with rotations that are exact again: evo refuses any others."""
    poses = poses.astype(np.float64).copy()
    for pose in poses:
        pose[:3, :3] = nearest_rotation(pose[:3, :3])
    return poses


def align_worlds(cam_from_world: np.ndarray, valid: np.ndarray, truth: Truth) -> Sim3 | None:
    """The similarity true_world_from_world of two camera paths; None when the path cannot fix it.

    The rotation is the chordal mean of the relative orientations (Hartley et al., IJCV 2013); scale and
    translation then fit the centres by least squares. Orientations fix the rotation far better than the centres
    of a short hand-held path do: there, a centimetre of noise would tilt a room by degrees.
    """
    both = valid & truth.posed
    if both.sum() < 3:
        return None
    pose, true = invert(cam_from_world[both]), invert(truth.cam_from_world[both])
    rotation = nearest_rotation(np.einsum("tij,tkj->ik", true[:, :3, :3], pose[:, :3, :3]))
    centers, true_centers = pose[:, :3, 3] @ rotation.T, true[:, :3, 3]
    a, b = centers - centers.mean(0), true_centers - true_centers.mean(0)
    energy = float((a * a).sum())
    if energy < 1e-12 or float((b * b).sum()) / len(b) < truth.standing**2:
        return None
    scale = float((a * b).sum()) / energy
    if scale <= 0:
        return None
    return Sim3(scale, rotation, true_centers.mean(0) - scale * centers.mean(0))
