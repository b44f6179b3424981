"""Scores of camera paths against the truth. They equal those of the evo library (Grupp, 2017); a test holds them so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geoflow.evaluate.scores import NAN, PoseScores
from geoflow.evaluate.truth import Truth
from geoflow.geometry.alignment import rotation_angles
from geoflow.geometry.rigid import Sim3, invert, nearest_rotation, umeyama

_STRETCHES = (0.1, 0.5)  # shares of the path over which drift is measured
_ONE_PLACE = 1e-9  # centres within such a box are all the same: nothing can be aligned


def score_poses(
    cam_from_world: np.ndarray, valid: np.ndarray, truth: Truth, focal_error: float = NAN
) -> tuple[PoseScores, dict[str, np.ndarray]]:
    """Return scores and curves over the frames with a predicted pose, (T, 4, 4) with (T,) bool, and a true pose.

    ATE is the RMSE of camera centres after the Sim(3) alignment of Umeyama (1991). RPE is the RMSE of relative motion
    between neighbouring posed frames at this scale (Sturm et al., IROS 2012). A path whose centres are all the same
    cannot be aligned: it is placed at the mean of the true centres, which is its least-squares fit. The path's length
    is that of the true path between known frames. ATE in percent of it is not scored if the true camera stands still;
    figures in metres are not scored if the truth is not in metres. A frame where `valid` is False may still have a
    rotation, for instance if the camera only turns: it counts among the orientations.
    """
    length = _path_length(truth)
    metre = 1.0 if truth.metric else NAN
    turned, rotation = _orientations(cam_from_world, truth)
    found = PoseScores(
        frames_posed=float(valid.mean()) if len(valid) else 0.0,
        frames_oriented=float(turned.mean()) if len(turned) else 0.0,
        rotation_deg=float(np.nanmean(rotation)) if np.isfinite(rotation).any() else NAN,
        path_length_m=metre * length,
        focal_error=focal_error,
    )
    position = np.full(len(valid), np.nan)
    curves = {"position_percent": position, "rotation_deg": rotation}
    both = valid & truth.posed
    if both.sum() < 3:
        return found, curves
    true = invert(truth.cam_from_world[both])
    aligned, errors, rpe_translation, rpe_rotation = path_errors(invert(cam_from_world[both]), true)
    ate = float(np.sqrt(np.mean(errors**2)))
    found = replace(found, ate_m=metre * ate, rpe_translation_m=metre * rpe_translation, rpe_rotation_deg=rpe_rotation)
    if not truth.travels:
        return found, curves
    position[both] = 100 * errors / length
    drift = [path_drift(aligned, true, share) for share in _STRETCHES]
    return replace(found, ate_percent=100 * ate / length, drift_10_percent=drift[0], drift_50_percent=drift[1]), curves


def _path_length(truth: Truth) -> float:
    """Return the length of the true path, in the truth's unit; NaN if fewer than two poses are known."""
    centers = invert(truth.cam_from_world[truth.posed])[:, :3, 3]
    return float(np.linalg.norm(np.diff(centers, axis=0), axis=1).sum()) if len(centers) > 1 else NAN


def path_drift(world_from_cam: np.ndarray, true_world_from_cam: np.ndarray, share: float) -> float:
    """Return the mean translation error over stretches of the path, in percent of their length; poses (T, 4, 4).

    Both paths have one scale. A stretch begins at every frame, and ends at the first frame after `share` of the whole
    path. This is KITTI's drift (Geiger et al., CVPR 2012) with lengths that suit any path; the errors of the stretch's
    first and last pose add to it.
    """
    steps = np.linalg.norm(np.diff(true_world_from_cam[:, :3, 3], axis=0), axis=1)
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    ends = np.searchsorted(travelled, travelled + share * travelled[-1] * (1 - 1e-9))
    (starts,) = np.nonzero(ends < len(travelled))
    ends = ends[starts]
    moved, true = (invert(pose[starts]) @ pose[ends] for pose in (world_from_cam, true_world_from_cam))
    errors = np.linalg.norm((invert(moved) @ true)[:, :3, 3], axis=1)
    return float(100 * np.mean(errors / (travelled[ends] - travelled[starts])))


def _orientations(cam_from_world: np.ndarray, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Return which frames have a rotation (T,) bool, and its error in degrees (T,), NaN where unknown.

    The two worlds are aligned by one rotation, the chordal mean of the relative orientations.
    """
    rotations = cam_from_world[:, :3, :3]
    turned, errors = np.isfinite(rotations).all((1, 2)), np.full(len(rotations), np.nan)
    both = turned & truth.posed
    if both.any():
        true_rotations = truth.cam_from_world[both, :3, :3]
        between = _world_rotation(rotations[both], true_rotations)
        errors[both] = rotation_angles(true_rotations @ between @ rotations[both].transpose(0, 2, 1))
    return turned, errors


def _world_rotation(cam_from_world: np.ndarray, cam_from_true_world: np.ndarray) -> np.ndarray:
    """true_world_from_world (3, 3) of rotations (T, 3, 3): the chordal mean (Hartley et al., IJCV 2013)."""
    return nearest_rotation(np.einsum("tki,tkj->ij", cam_from_true_world, cam_from_world))


def path_errors(
    world_from_cam: np.ndarray, true_world_from_cam: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return the aligned poses (T, 4, 4), their distances from the truth (T,), and RPE as translation and degrees.

    Both are (T, 4, 4), T >= 3. RPE compares the motions of neighbours, so that only the scale of the alignment matters.
    """
    pose, true = _orthonormal(world_from_cam), _orthonormal(true_world_from_cam)
    centers, true_centers = pose[:, :3, 3], true[:, :3, 3]
    aligned = pose.copy()
    if np.ptp(centers, axis=0).max() < _ONE_PLACE:
        aligned[:, :3, 3] = true_centers.mean(0)
    else:
        world = umeyama(centers, true_centers)
        aligned[:, :3, :3] = world.rotation @ pose[:, :3, :3]
        aligned[:, :3, 3] = world.apply(centers)
    errors = np.linalg.norm(aligned[:, :3, 3] - true_centers, axis=1)
    moved, truly = (invert(path[:-1]) @ path[1:] for path in (aligned, true))
    left = invert(truly) @ moved
    steps, turns = np.linalg.norm(left[:, :3, 3], axis=1), rotation_angles(left[:, :3, :3])
    return aligned, errors, float(np.sqrt(np.mean(steps**2))), float(np.sqrt(np.mean(turns**2)))


def _orthonormal(poses: np.ndarray) -> np.ndarray:
    """Make the rotations of float32 poses exact again: the angle of a matrix that is not quite a rotation is wrong."""
    poses = poses.astype(np.float64).copy()
    for pose in poses:
        pose[:3, :3] = nearest_rotation(pose[:3, :3])
    return poses


def align_worlds(cam_from_world: np.ndarray, valid: np.ndarray, truth: Truth) -> Sim3 | None:
    """Return the similarity true_world_from_world of two camera paths; None if the path cannot determine it.

    The orientations determine the rotation; scale and translation are then a least-squares fit of the centres.
    Orientations determine the rotation far better than the centres of a short hand-held path: with such centres a
    centimetre of noise would tilt a room by degrees.
    """
    both = valid & truth.posed
    if both.sum() < 3:
        return None
    pose, true = invert(cam_from_world[both]), invert(truth.cam_from_world[both])
    rotation = _world_rotation(cam_from_world[both, :3, :3], truth.cam_from_world[both, :3, :3])
    centers, true_centers = pose[:, :3, 3] @ rotation.T, true[:, :3, 3]
    a, b = centers - centers.mean(0), true_centers - true_centers.mean(0)
    energy = float((a * a).sum())
    if energy < 1e-12 or float((b * b).sum()) / len(b) < truth.standing**2:
        return None
    scale = float((a * b).sum()) / energy
    if scale <= 0:
        return None
    return Sim3(scale, rotation, true_centers.mean(0) - scale * centers.mean(0))
