"""Which hand is whose: detections of single frames become one left and one right hand through a segment.

A detector judges handedness frame by frame and errs on single ones. Here detections are first linked over time into
tracks by where they are in the image, each track then takes the side that its frames say together, and where two
tracks claim one side at the same time, the one with more evidence has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIDES = ("left", "right")


@dataclass(frozen=True)
class Detection:
    """One hand in one frame."""

    uv: np.ndarray  # (21, 2) px, MediaPipe/OpenPose order: wrist, then thumb to little finger, base to tip
    shape_m: np.ndarray  # (21, 3) metres about the hand's centre, axes parallel to the camera's
    right: float  # 0..1, how surely it is the person's right hand
    score: float  # 0..1, the detector's confidence in the side it named

    @property
    def size_px(self) -> float:
        """Diagonal of the box around the joints."""
        return float(np.linalg.norm(np.ptp(self.uv, axis=0)))


@dataclass
class _Track:
    frames: list[int]
    detections: list[Detection]

    def evidence(self) -> float:
        """Summed votes: positive for a right hand, negative for a left one."""
        return float(sum(2 * d.right - 1 for d in self.detections))


def assign_sides(
    frames: Sequence[Sequence[Detection]], *, max_gap: int = 3, max_jump: float = 0.6, sure: float = 0.9
) -> dict[str, list[Detection | None]]:
    """Give each side at most one hand per frame.

    `frames` holds the detections of each frame. A detection continues a track when its joints moved, on average, by
    less than `max_jump` of the hand's size since the track's last frame, at most `max_gap` frames ago. A track whose
    side is taken by a stronger one goes to the free side if its own votes are not `sure` (mean probability) of the
    taken one; a detector often calls both hands of a person the same. Otherwise it is left out in those frames: a
    second person's hand.

    Returns "left" and "right", each with one Detection or None per frame.
    """
    given: dict[str, list[Detection | None]] = {side: [None] * len(frames) for side in SIDES}
    for track in sorted(_link(frames, max_gap, max_jump), key=lambda t: -abs(t.evidence())):
        right = track.evidence() > 0
        wanted, other = ("right", "left") if right else ("left", "right")
        taken = sum(given[wanted][i] is not None for i in track.frames)
        free = sum(given[other][i] is None for i in track.frames)
        certainty = 0.5 + 0.5 * abs(track.evidence()) / len(track.frames)
        if 2 * taken > len(track.frames) and free > len(track.frames) - taken and certainty < sure:
            wanted = other
        for i, detection in zip(track.frames, track.detections):
            if given[wanted][i] is None:
                given[wanted][i] = detection
    return given


def drop_duplicates(detections: Sequence[Detection], *, closer_than: float = 0.25) -> list[Detection]:
    """Keep the best of detections that lie on the same hand: mean joint distance below a share of the hand's size."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda d: -d.score):
        if all(_distance(detection, other) >= closer_than * max(detection.size_px, other.size_px) for other in kept):
            kept.append(detection)
    return kept


def _distance(a: Detection, b: Detection) -> float:
    return float(np.linalg.norm(a.uv - b.uv, axis=1).mean())


def _link(frames: Sequence[Sequence[Detection]], max_gap: int, max_jump: float) -> list[_Track]:
    tracks: list[_Track] = []
    for i, raw in enumerate(frames):
        detections = drop_duplicates(raw)
        alive = [t for t in tracks if i - t.frames[-1] <= max_gap]
        pairs = sorted(
            (_distance(track.detections[-1], detection) / max(detection.size_px, 1e-6), k, j)
            for k, track in enumerate(alive)
            for j, detection in enumerate(detections)
        )
        used_tracks: set[int] = set()
        used: set[int] = set()
        for cost, k, j in pairs:
            if cost <= max_jump and k not in used_tracks and j not in used:
                alive[k].frames.append(i)
                alive[k].detections.append(detections[j])
                used_tracks.add(k)
                used.add(j)
        tracks += [_Track([i], [d]) for j, d in enumerate(detections) if j not in used]
    return tracks
