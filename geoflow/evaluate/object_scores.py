"""Masks of objects against the true labels: intersection over union, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geoflow.evaluate.prediction import Prediction
from geoflow.evaluate.truth import Truth
from geoflow.fields import OBJECT_AWAITED
from geoflow.store.meshes import LABEL, STATE

NO_LABELS = "the store holds no labels of objects"
NO_TRUTH = "the truth knows no objects"
NO_OBJECTS = "no object is seen in any frame of the store"


@dataclass(frozen=True)
class ObjectScore:
    """One object. Frames before its first prompt are left out, and frames in which neither side shows it."""

    body: int  # of the truth: the one of which its labels cover the most in their first frame; 0: none
    iou: float  # mean over the frames
    frames: int  # in which the object is seen, or should be
    missed: float  # share of the frames that should show it, in which the store shows nothing of it
    invented: float  # share of the frames that should not show it, in which the store does; NaN if there are none
    posed: float = math.nan  # share of all frames in which its pose is known; NaN of these four: not scored
    rotation_deg: float = math.nan  # median error of the rotation since the frame that poses count from
    translation: float = math.nan  # median error of the place of the body's centre, relative to its diameter
    travelled: float = math.nan  # the same if the object were taken to stand still


@dataclass(frozen=True)
class ObjectScores:
    """All objects of a video that the store names."""

    mean_iou: float
    worst_iou: float
    by_number: dict[int, ObjectScore]


def score_objects(prediction: Prediction, truth: Truth) -> tuple[ObjectScores | None, str]:
    """Return the scores of the masks, None if there are none; and why there are none, "" if there are.

    Numbers are the user's, so each object is held against the body that it first shows.
    """
    label = prediction.dataset(LABEL)
    if label is None:
        return None, NO_LABELS
    if not truth.knows_labels:
        return None, NO_TRUTH
    counts = _Counts(prediction.array(STATE))
    for i in range(prediction.num_frames):
        counts.add(i, label[i], truth.label(i))
    found = {number: counts.score(number) for number in sorted(counts.body)}
    if not found:
        return None, NO_OBJECTS
    ious = [row.iou for row in found.values()]
    return ObjectScores(float(np.mean(ious)), min(ious), found), ""


class _Counts:
    """Pixels per frame that store and truth share."""

    def __init__(self, state: np.ndarray | None) -> None:
        self._state = state
        self._overlaps: list[np.ndarray] = []  # per frame (K, 3): store's label, true label, pixels
        self.body: dict[int, int] = {}
        if state is not None:  # an object that is never seen is asked for, all the same
            self.body = {int(n): 0 for n in np.flatnonzero(state.any(0))}

    def add(self, i: int, label: np.ndarray, true: np.ndarray) -> None:
        overlap = np.bincount(label.ravel().astype(np.int64) * 256 + true.ravel(), minlength=256 * 256)
        mine, theirs = np.nonzero(overlap.reshape(256, 256))
        rows = np.stack([mine, theirs, overlap[mine * 256 + theirs]], 1)
        for number in np.unique(mine).tolist():
            if number and not self.body.get(number):
                own = rows[mine == number]
                self.body[number] = int(own[own[:, 2].argmax(), 1])
        self._overlaps.append(rows)

    def score(self, number: int) -> ObjectScore:
        body, ious = self.body[number], list[float]()
        missed, invented = list[bool](), list[bool]()
        for i, overlap in enumerate(self._overlaps):
            if self._state is not None and self._state[i, number] == OBJECT_AWAITED:
                continue
            own, true = overlap[:, 0] == number, (overlap[:, 1] == body) & (body > 0)
            mine, theirs, both = (int(overlap[rows, 2].sum()) for rows in (own, true, own & true))
            if mine or theirs:
                ious.append(both / (mine + theirs - both))
            (missed if theirs else invented).append(not mine if theirs else bool(mine))
        return ObjectScore(
            body=body,
            iou=float(np.mean(ious)) if ious else 0.0,
            frames=len(ious),
            missed=float(np.mean(missed)) if missed else math.nan,
            invented=float(np.mean(invented)) if invented else math.nan,
        )


def object_columns(scores: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Return the columns of the table by heading, from the dictionary of `ObjectScores`."""
    rows = scores["by_number"]
    assert isinstance(rows, dict)
    return {f"object {number}": row for number, row in rows.items()}
