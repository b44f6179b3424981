"""Parameters that every backend of hands has: how hands are looked for with MediaPipe's networks, and how they move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoflow.geometry.cameras import assumed_intrinsics
from geoflow.geometry.hands.hand_finding import TrackRules, hand_tracks
from geoflow.geometry.hands.hand_motion import HandLimits, steady_frames
from geoflow.geometry.hands.hand_search import Eye, HandSearch
from geoflow.geometry.hands.hand_sides import HandTrack
from geoflow.geometry.hands.hand_smoothing import Smoothing
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param

SMOOTHING = "Hz below which the motion of a hand at rest is kept, more if it moves (One-Euro filter); 0: not smoothed"
_MORE = 2  # hands than are kept, so that the store can tell that there are more


@dataclass(frozen=True)
class HandParams(Stage.Params):
    """What a user may set of the search and of the hands' motion."""

    max_hands: int = param(
        4, "hands of all people that are kept in a frame; two more are looked for and counted", at_least=1
    )
    model_complexity: int = param(1, "networks: 0 is lighter, 1 is more accurate", at_least=0, at_most=1)
    min_detection_confidence: float = param(
        0.1, "palm detector's score (0..1) from which a place is looked at", at_least=0, at_most=1
    )
    min_presence: float = param(
        0.5, "landmark network's score (0..1) from which there is a hand at a new place", at_least=0, at_most=1
    )
    min_tracking_confidence: float = param(
        0.5, "the same for a hand that is followed from a neighbouring frame", at_least=0, at_most=1
    )
    min_belief: float = param(
        0.79,
        "landmark network's score (0..1) that a hand must have over its frames and second looks; this score times "
        "that of wide looks, which show an arm, must be 0.63 of it; 0: none needed",
        at_least=0,
        at_most=1,
    )
    search_every: int = param(10, "frames between two searches in enlarged parts of the picture; 0: none", at_least=0)
    max_gap: int = param(3, "frames that a hand may be lost and is still searched near its last place", at_least=0)
    max_hand_velocity: float = param(
        1.0, "m/s; a wrist that would have to move faster is dropped; 0: any speed", at_least=0
    )
    max_interpolation_gap: int = param(
        20, "frames; gaps of at most this length in a hand's track are filled; 0: none", at_least=0
    )
    wrist_depth_offset: float = param(
        0.02, "m from the skin, which scene depth shows, to the joints behind it", at_least=0
    )

    smoothing: float = param(0.0, SMOOTHING, at_least=0)

    def limits(self) -> HandLimits:
        """Return the limits of a hand's motion."""
        return HandLimits(self.max_hand_velocity, self.max_interpolation_gap, self.wrist_depth_offset)

    def scene(self, segment: Segment, fields: Fields) -> dict[str, Any]:
        """Return what lifting hands needs to know of a segment besides its cameras: the same for every backend."""
        fps, count = segment.video.fps, len(fields["camera.intrinsics"])
        return {
            "depth": fields.get("camera.depth"),
            "metric": segment.video.metric,
            "time_s": fields.get("frames.time", np.arange(count) / fps),
            "world_from_cam": steady_frames(fields.get("camera.cam_from_world"), fields.get("camera.valid")),
            "limits": self.limits(),
            "smoothing": Smoothing(self.smoothing),
        }

    def rules(self, fps: float) -> TrackRules:
        """Return how detections of a video with `fps` frames per second are linked."""
        return TrackRules(self.max_gap, self.max_interpolation_gap, self.max_hand_velocity, fps)

    @staticmethod
    def cameras(fields: Fields) -> np.ndarray:
        """Return the pinhole matrices (T, 3, 3), assumed ones where none is known."""
        found = fields["camera.intrinsics"]
        return np.where(np.isfinite(found), found, assumed_intrinsics(*fields["frames.rgb"].shape[1:3]))

    def tracks(self, frames: Sequence[np.ndarray], eye: Eye, fps: float) -> list[HandTrack]:
        """Return the hands that two networks find in frames (H, W, 3) uint8."""
        search = HandSearch(self.max_hands + _MORE, self.min_presence, self.min_tracking_confidence, self.search_every)
        return hand_tracks(frames, eye, search, self.rules(fps), self.min_belief)
