"""Scores of hands against annotated ones: how many are found, their 2D and 3D errors, and whether the side is right.

A found hand belongs to the nearest annotated hand; each is used once. Everything is counted per annotated hand, so that
figures of several frames or clips are sums of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoflow.evaluate.scores import NAN
from geoflow.geometry.rigid import umeyama

MAX_DISTANCE = 0.5  # of the box; a find further away is not this hand
PCK_SHARE = 0.2  # of the box: the percentage of correct keypoints (Yang & Ramanan 2013; Simon et al. 2017 for hands)


@dataclass(frozen=True)
class TrueHand:
    """An annotated hand. Joints are in MediaPipe's order, NaN where they could not be annotated."""

    side: str  # "left", "right", or "" if unknown
    box: np.ndarray  # (4,) px: left, top, right, bottom
    uv: np.ndarray | None = None  # (21, 2) px
    xyz_m: np.ndarray | None = None  # (21, 3) metres, axes of the camera

    @property
    def size(self) -> float:
        """Return the longer side of the box, px."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    @staticmethod
    def of_joints(side: str, uv: np.ndarray, xyz_m: np.ndarray | None = None) -> TrueHand:
        """Make a hand with the tight box around its known joints."""
        return TrueHand(side, np.r_[np.nanmin(uv, axis=0), np.nanmax(uv, axis=0)], uv, xyz_m)


@dataclass(frozen=True)
class FoundHand:
    """A hand as a backend returns it."""

    side: str
    uv: np.ndarray  # (21, 2) px
    xyz_m: np.ndarray | None = None  # (21, 3) in any unit and place: only its shape is compared


@dataclass(frozen=True)
class HandRow:
    """The result for one annotated hand."""

    size_px: float
    found: bool
    joints: int = 0  # annotated joints, if the hand was found
    near: int = 0  # joints of these within `PCK_SHARE` of the box
    side: bool | None = None  # whether the side is right; None if not found, or no side is annotated
    error_mm: float = NAN  # mean distance of the joints, wrists laid on each other
    aligned_mm: float = NAN  # the same after the best similarity transform


@dataclass(frozen=True)
class HandScores:
    """Sums over rows; NaN if there was nothing to measure."""

    hands: int
    found: float  # share
    pck: float  # share of correct joints of the hands that were found
    sides: float  # share of right sides, of the hands found with an annotated side
    sides_told: int
    error_mm: float
    aligned_mm: float
    extra: int  # hands found where none is annotated; only meaningful if all are annotated


def match(found: Sequence[FoundHand], true: Sequence[TrueHand]) -> list[int | None]:
    """Return for each annotated hand the index of its found hand, nearest pairs first; None if there is none.

    The distance is the mean over the annotated joints, or between the centres if only a box is known, as a share of the
    box's longer side.
    """
    pairs = sorted((_distance(f, t), k, j) for k, t in enumerate(true) for j, f in enumerate(found))
    partner: list[int | None] = [None] * len(true)
    for distance, k, j in pairs:
        if distance <= MAX_DISTANCE and partner[k] is None and j not in partner:
            partner[k] = j
    return partner


def _distance(found: FoundHand, true: TrueHand) -> float:
    if true.uv is None:
        middle = (found.uv.min(axis=0) + found.uv.max(axis=0)) / 2
        return float(np.linalg.norm(middle - (true.box[:2] + true.box[2:]) / 2)) / true.size
    return float(np.nanmean(np.linalg.norm(found.uv - true.uv, axis=1))) / true.size


def rows(found: Sequence[FoundHand], true: Sequence[TrueHand]) -> list[HandRow]:
    """Return a row for each annotated hand of a frame."""
    return [
        HandRow(t.size, False) if j is None else _row(found[j], t)
        for t, j in zip(true, match(found, true), strict=True)
    ]


def _row(found: FoundHand, true: TrueHand) -> HandRow:
    near = joints = 0
    if true.uv is not None:
        known = np.isfinite(true.uv).all(axis=1)
        joints = int(known.sum())
        near = int((np.linalg.norm((found.uv - true.uv)[known], axis=1) <= PCK_SHARE * true.size).sum())
    error = aligned = NAN
    if true.xyz_m is not None and found.xyz_m is not None:
        error, aligned = joint_errors_mm(found.xyz_m, true.xyz_m)
    return HandRow(true.size, True, joints, near, found.side == true.side if true.side else None, error, aligned)


def joint_errors_mm(found: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Mean distance of joints (21, 3) in metres: with the wrists laid on each other, and after Procrustes alignment.

    The first is MPJPE relative to the root, the second PA-MPJPE (Zimmermann & Brox 2017; Zimmermann et al. 2019).

    >>> true = np.random.default_rng(0).normal(size=(21, 3))
    >>> [round(error, 6) for error in joint_errors_mm(true + 5, true)]
    [0.0, 0.0]
    """
    by_root = np.linalg.norm((found - found[0]) - (true - true[0]), axis=1).mean()
    by_shape = np.linalg.norm(umeyama(found, true).apply(found) - true, axis=1).mean()
    return 1000 * float(by_root), 1000 * float(by_shape)


def summarise(counted: Sequence[HandRow], extra: int = 0) -> HandScores:
    """Sum up any number of rows."""
    hits = [row for row in counted if row.found]
    told = [row.side for row in hits if row.side is not None]
    joints = sum(row.joints for row in hits)
    return HandScores(
        hands=len(counted),
        found=len(hits) / len(counted) if counted else NAN,
        pck=sum(row.near for row in hits) / joints if joints else NAN,
        sides=sum(told) / len(told) if told else NAN,
        sides_told=len(told),
        error_mm=_mean([row.error_mm for row in hits]),
        aligned_mm=_mean([row.aligned_mm for row in hits]),
        extra=extra,
    )


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else NAN


def mean_hands(true: Sequence[TrueHand]) -> list[FoundHand]:
    """Return a trivial answer that knows every box: the mean of all hands, put into each box, always called right."""
    whole = [t for t in true if t.uv is not None]
    shapes = [(t.uv - t.box[:2]) / t.size for t in whole if t.uv is not None]
    mean = np.nanmean(shapes, axis=0) if shapes else np.full((21, 2), 0.5)
    solid = [t.xyz_m - t.xyz_m[0] for t in whole if t.xyz_m is not None]
    xyz = np.mean(solid, axis=0) if solid else None
    return [FoundHand("right", t.box[:2] + mean * t.size, xyz) for t in true]


def side_of_joints(xyz: np.ndarray, least: float = 0.05) -> str:
    """Return left or right for (21, 3) joints in a right-handed frame: fingers bend towards the palm.

    `least` is a share of the palm's length: if the fingertips lie less far out of the palm's plane on average, the hand
    is too flat to tell, and the result is "".
    """
    normal = np.cross(xyz[5] - xyz[0], xyz[17] - xyz[0])  # out of a right hand's palm
    normal /= np.linalg.norm(normal)
    bend = np.mean([(xyz[base + 3] - xyz[base]) @ normal for base in (5, 9, 13, 17)]) / np.linalg.norm(xyz[9] - xyz[0])
    return "" if abs(bend) < least else "right" if bend > 0 else "left"
