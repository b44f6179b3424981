"""Boxes around hands: those of joints, and detections made of the boxes of a detector that finds no joints."""

from __future__ import annotations

import numpy as np

from geoflow.geometry.hands.hand_sides import Detection

_HEIGHT_M = 0.18  # of a hand with its fingers stretched
# A flat hand, fingers up, that fills its box: wrist, then thumb to little finger, base to tip; in shares of the box.
_FLAT = np.array(
    [(0.5, 1.0)]
    + [(x + lean * step, top + (low - top) * (3 - step) / 3) for x, lean, top, low in (
        (0.3, -0.1, 0.45, 0.85),
        (0.35, -0.02, 0.06, 0.5),
        (0.52, 0.0, 0.0, 0.48),
        (0.69, 0.02, 0.05, 0.5),
        (0.82, 0.06, 0.2, 0.55),
    ) for step in range(4)]
)  # fmt: skip


def box_of(uv: np.ndarray) -> np.ndarray:
    """Return the box (4,) around points (N, 2): x1, y1, x2, y2."""
    return np.concatenate((uv.min(0), uv.max(0)))


def detection_in(box: np.ndarray, right: bool, score: float) -> Detection:
    """Return a detection that stands for a hand of which a box x1, y1, x2, y2 and a side are known, and no joints.

    Its joints are those of a flat hand that fills the box. They serve to follow it over time, and for nothing else.
    """
    corner, size = np.asarray(box[:2], np.float64), np.asarray(box[2:] - box[:2], np.float64)
    shape = np.c_[(_FLAT - _FLAT.mean(0)) * size / max(float(size.max()), 1e-6) * _HEIGHT_M, np.zeros(len(_FLAT))]
    return Detection(corner + _FLAT * size, shape, 0.5 + (0.5 if right else -0.5) * score, score)
