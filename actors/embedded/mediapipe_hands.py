"""Hands by MediaPipe Hands (Zhang et al. 2020), in the environment `runtime_envs/mediapipe.yaml`.

MediaPipe's wheel contains both networks (palm detector, hand landmarks), so nothing is downloaded at run time.
"""

from __future__ import annotations

from dataclasses import dataclass

from geoflow.backends.hand_params import HandParams
from geoflow.geometry.hands.hand_lifting import lift_hands
from geoflow.geometry.hands.hand_rows import GIVEN, hand_fields
from geoflow.geometry.hands.hand_sides import sides_of
from geoflow.models.mediapipe.eye import MediaPipeEye
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage


class MediaPipeHands(Stage):
    """21 joints per hand: the main left and right hand of each frame, and a row for each of `max_hands` hands.

    Joints and wrists are in the scene's unit if `camera.depth` is known at the hands (one factor per segment), or if
    the video is metric; otherwise they are in metres of the network's hand of average size. Speeds and the depth offset
    are in metres of this hand. In a metric video, `camera.depth` under a hand decides how far away and how large it is.
    """

    slot = "hands"
    inputs = ("frames.rgb", "camera.intrinsics")
    optional = ("frames.time", "camera.depth", "camera.cam_from_world", "camera.valid")
    outputs = GIVEN
    version = "5"  # metric videos
    honours = frozenset({"intrinsics"})  # by way of the camera's

    @dataclass(frozen=True)
    class Params(HandParams):
        pass

    def setup(self) -> None:
        self._eye = MediaPipeEye(self.params.model_complexity, self.params.min_detection_confidence)

    def process(self, segment: Segment, fields: Fields) -> Fields:
        frames = list(fields["frames.rgb"])
        hands = self.params.tracks(frames, self._eye, segment.video.fps)
        sides, cameras = sides_of(hands, len(frames)), self.params.cameras(fields)
        lifted, main = lift_hands(hands, sides, cameras, **self.params.scene(segment, fields))
        return hand_fields(lifted, main, len(frames), self.params.max_hands)

    def teardown(self) -> None:
        self._eye.close()
