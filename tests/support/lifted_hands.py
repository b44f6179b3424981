"""Hands of a segment from one sight or None per side and frame, as the hands stage makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hand_drawing import hand_joints

from geoflow.geometry.hands.hand_lifting import lift_hands
from geoflow.geometry.hands.hand_rows import HandArrays, empty, hand_fields
from geoflow.geometry.hands.hand_sides import SIDES, Detection, HandTrack


def lifted(
    seen: Mapping[str, Sequence[Detection | None]], intrinsics: np.ndarray, depth: np.ndarray | None = None, **more: Any
) -> dict[str, np.ndarray]:
    """The fields of at most one track per side."""
    tracks, sides = [], []
    for side, detections in seen.items():
        there = [(i, detection) for i, detection in enumerate(detections) if detection is not None]
        if there:
            tracks.append(HandTrack([i for i, _ in there], [detection for _, detection in there]))
            sides.append(side)
    return hand_fields(*lift_hands(tracks, sides, intrinsics, depth, **more), len(intrinsics), 4)


def standing(x: float, frames: Sequence[int], count: int, *, side: str = "left", strength: float = 1.0) -> HandArrays:
    """A hand that stands at column x, 40 px high, in some of `count` frames."""
    arrays = empty(count)
    joints = hand_joints(side)
    uv = joints[:, :2] / np.ptp(joints[:, 1]) * 40 + [x, 50]
    for i in frames:
        arrays["valid"][i], arrays["confidence"][i] = True, 0.9
        arrays["uv"][i], arrays["joints"][i], arrays["wrist"][i] = uv, joints + [0, 0, 2], np.eye(4)
        arrays["scale"][i] = 1
    return HandArrays(side, 0.1 if side == "left" else 0.9, strength, arrays)


def rows_of(hands: Sequence[HandArrays], count: int, rows: int = 3) -> dict[str, np.ndarray]:
    """The fields of a segment with these hands, of which the strongest of each side is the main one."""
    main = {side: empty(count) for side in SIDES}
    for hand in sorted(hands, key=lambda hand: hand.strength):
        for name, array in hand.arrays.items():
            main[hand.side][name][hand.arrays["valid"]] = array[hand.arrays["valid"]]
    return hand_fields(hands, main, count, rows)
