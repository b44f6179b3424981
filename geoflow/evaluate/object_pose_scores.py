"""Poses of objects against the true motion of the bodies that they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geoflow.evaluate.object_scores import ObjectScore, ObjectScores
from geoflow.evaluate.prediction import Prediction
from geoflow.evaluate.trajectory import align_worlds
from geoflow.evaluate.truth import Truth
from geoflow.geometry.rigid import Sim3, apply, invert
from geoflow.store.meshes import GROUP
from geoflow.store.object_poses import POSE


def with_poses(scores: ObjectScores | None, prediction: Prediction, truth: Truth) -> ObjectScores | None:
    """Return the scores with those of the poses, where the store and the truth have both, in one world."""
    cameras = prediction.poses()
    if scores is None or truth.bodies is None or cameras is None:
        return scores
    if (world := align_worlds(*cameras, truth)) is None:
        return scores
    by_number = {n: _with_pose(n, row, prediction, truth, world) for n, row in scores.by_number.items()}
    return replace(scores, by_number=by_number)


def _with_pose(number: int, score: ObjectScore, prediction: Prediction, truth: Truth, world: Sim3) -> ObjectScore:
    moved, reference = (
        prediction.array(f"{GROUP}/{number}/{POSE}/{name}") for name in ("world_from_object", "reference")
    )
    if moved is None or reference is None or not score.body or truth.bodies is None:
        return score
    (first,) = np.nonzero(prediction.frame_index == reference[0])
    known = np.isfinite(moved).all((1, 2))
    known[first] = False  # there it is the identity, by its meaning
    if not known.any():
        return score
    bodies = truth.bodies.world_from_body[:, score.body].astype(np.float64)
    true = bodies[known] @ invert(bodies[first[0]])
    own = moved[known].astype(np.float64)
    centre, size = bodies[first[0], :3, 3], float(truth.bodies.size[score.body])
    mine = np.array([world.apply(apply(pose, _back(world, centre))) for pose in own])
    turned = world.rotation @ own[:, :3, :3] @ world.rotation.T
    theirs = np.array([apply(pose, centre) for pose in true])
    return replace(
        score,
        posed=float((known.sum() + 1) / len(known)),
        rotation_deg=float(np.median(_angle(np.swapaxes(turned, 1, 2) @ true[:, :3, :3]))),
        translation=float(np.median(np.linalg.norm(mine - theirs, axis=1))) / size,
        travelled=float(np.median(np.linalg.norm(theirs - centre, axis=1))) / size,
    )


def _back(world: Sim3, point: np.ndarray) -> np.ndarray:
    """Return a point of the true world in that of the store."""
    found: np.ndarray = (point - world.translation) @ world.rotation / world.scale
    return found


def _angle(rotations: np.ndarray) -> np.ndarray:
    """Return the angles (T,) of rotations (T, 3, 3), in degrees."""
    cosine = (np.trace(rotations, axis1=1, axis2=2) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))
