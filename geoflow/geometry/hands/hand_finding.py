"""Find the hands of a segment: search, link over time, and keep the tracks that are hands. Every backend begins so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoflow.geometry.hands.hand_judge import only_hands
from geoflow.geometry.hands.hand_search import Eye, HandSearch, find_hands
from geoflow.geometry.hands.hand_sides import Detection, HandTrack, follow


@dataclass(frozen=True)
class TrackRules:
    """Options of linking detections over time."""

    max_gap: int = 3  # frames that a hand may be lost and is still searched near its last place
    max_loss: int = 20  # frames that a hand may be out of sight and is still the same hand
    max_velocity: float = 1.0  # m/s of a hand that was out of sight; 0: any
    fps: float = 30.0

    @property
    def reach_m(self) -> float:
        """Return how far a hand moves from frame to frame, metres."""
        return self.max_velocity / self.fps if self.max_velocity else float(np.inf)


def hand_tracks(
    frames: Sequence[np.ndarray], eye: Eye, search: HandSearch, rules: TrackRules, min_belief: float
) -> list[HandTrack]:
    """Return the hands in frames (H, W, 3) uint8, each through the segment; `min_belief` is that of `only_hands`."""
    found = find_hands(frames, eye, search)
    tracks = linked([[sight.detection for sight in sights] for sights in found], rules)
    return only_hands(found, tracks, frames, eye, min_belief)


def linked(seen: Sequence[Sequence[Detection]], rules: TrackRules) -> list[HandTrack]:
    """Return the detections of each frame, linked into tracks of one hand each."""
    return follow(seen, max_gap=rules.max_gap, max_loss=rules.max_loss, reach_m=rules.reach_m)
