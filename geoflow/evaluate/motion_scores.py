"""Scores of the camera's kind of motion: cameras that stand still or only turn show no depth."""

from __future__ import annotations

import numpy as np

from geoflow.evaluate.scores import NAN, MotionScores
from geoflow.evaluate.truth import Truth
from geoflow.geometry.alignment import rotation_angles
from geoflow.geometry.rigid import invert
from geoflow.store.schema import MOTION_NAMES

_STILL_DEG = 1.0  # a camera at rest trembles by less, and so does motion capture
_NO_PARALLAX = 0.01  # a camera that stays within this share of the scene's median depth has no parallax


def true_motion(truth: Truth, scene_depth: float) -> str | None:
    """Return moving, still or rotating, for the whole video; None if the truth does not tell.

    None means fewer than two true poses and no statement. `scene_depth` is the median true depth, NaN if unknown.
    """
    if truth.motion is not None:
        return truth.motion
    pose = invert(truth.cam_from_world[truth.posed])
    if len(pose) < 2:
        return None
    extent = float(np.linalg.norm(np.ptp(pose[:, :3, 3], axis=0)))
    if extent > (_NO_PARALLAX * scene_depth if np.isfinite(scene_depth) else truth.standing):
        return "moving"
    return "still" if rotation_angles(pose[0, :3, :3].T @ pose[:, :3, :3]).max() < _STILL_DEG else "rotating"


def score_motion(claimed: np.ndarray | None, true: str | None) -> MotionScores | None:
    """Return shares of the codes `claimed` (T,) of `camera/motion`; None if the store makes no claim."""
    if claimed is None or not len(claimed):
        return None
    shares = {name: float((claimed == code).mean()) for code, name in enumerate(MOTION_NAMES)}
    return MotionScores(**shares, truth=true, right=NAN if true is None else shares[true])
