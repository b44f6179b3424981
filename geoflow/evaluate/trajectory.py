"""Camera paths against the truth, through the evo library (Grupp, 2017)."""

from __future__ import annotations

import numpy as np

from geoflow.evaluate.scores import PoseScores
from geoflow.geometry.rigid import Sim3, invert, nearest_rotation

_STANDING_M = 0.01  # a path shorter than this has no length to measure an error by


def score_poses(
    cam_from_world: np.ndarray, valid: np.ndarray, true_cam_from_world: np.ndarray, focal_error: float = float("nan")
) -> PoseScores:
    """ATE and RPE of the frames that have a pose; (T, 4, 4), (T,) bool, (T, 4, 4) in metres.

    ATE is the RMSE of camera centres after the Sim(3) alignment of Umeyama (1991), RPE the RMSE of relative
    motion between neighbouring posed frames at that scale (Sturm et al., IROS 2012). A path whose centres are all
    the same cannot be aligned: it is placed at the mean of the true centres, which is its least-squares fit.
    ATE in percent is left open when the true camera stands still.
    """
    share = float(valid.mean()) if len(valid) else 0.0
    true_centers = invert(true_cam_from_world)[:, :3, 3]
    length = float(np.linalg.norm(np.diff(true_centers, axis=0), axis=1).sum())
    if valid.sum() < 3:
        return PoseScores(frames_posed=share, path_length_m=length, focal_error=focal_error)
    ate, rpe_translation, rpe_rotation = _evo_errors(invert(cam_from_world[valid]), invert(true_cam_from_world[valid]))
    return PoseScores(
        frames_posed=share,
        ate_percent=100 * ate / length if length > _STANDING_M else float("nan"),
        ate_m=ate,
        rpe_translation_m=rpe_translation,
        rpe_rotation_deg=rpe_rotation,
        path_length_m=length,
        focal_error=focal_error,
    )


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


def align_worlds(cam_from_world: np.ndarray, valid: np.ndarray, true_cam_from_world: np.ndarray) -> Sim3 | None:
    """The similarity true_world_from_world of two camera paths; None when the path cannot fix it.

    The rotation is the chordal mean of the relative orientations (Hartley et al., IJCV 2013); scale and
    translation then fit the centres by least squares. Orientations fix the rotation far better than the centres
    of a short hand-held path do: there, a centimetre of noise would tilt a room by degrees.
    """
    if valid.sum() < 3:
        return None
    pose, true = invert(cam_from_world[valid]), invert(true_cam_from_world[valid])
    rotation = nearest_rotation(np.einsum("tij,tkj->ik", true[:, :3, :3], pose[:, :3, :3]))
    centers, true_centers = pose[:, :3, 3] @ rotation.T, true[:, :3, 3]
    a, b = centers - centers.mean(0), true_centers - true_centers.mean(0)
    energy = float((a * a).sum())
    if energy < 1e-12 or float((b * b).sum()) / len(b) < _STANDING_M**2:
        return None
    scale = float((a * b).sum()) / energy
    if scale <= 0:
        return None
    return Sim3(scale, rotation, true_centers.mean(0) - scale * centers.mean(0))
