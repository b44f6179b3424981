"""Hands by MediaPipe Hands (Zhang et al. 2020), in the environment `runtime_envs/mediapipe.yaml`.

Its wheel carries both networks (palm detector, hand landmarks), so nothing is fetched at run time.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
import types
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoflow.errors import EnvironmentBroken
from geoflow.geometry.hand_pose import lift_hands
from geoflow.geometry.hand_sides import SIDES, Detection, assign_sides
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param


class MediaPipeHands(Stage):
    """21 joints per hand and side, at most one left and one right hand per frame.

    Joints and wrists are in the scene's unit where `camera.depth` is known at the hands (one factor per segment), or
    where the video is metric; elsewhere they are in metres as the network's hand of average size says.
    """

    slot = "hands"
    inputs = ("frames.rgb", "camera.intrinsics")
    optional = ("camera.depth",)
    outputs = tuple(
        f"hands.{s}.{name}" for s in SIDES for name in ("valid", "joints", "wrist", "uv", "confidence", "scale")
    )

    @dataclass(frozen=True)
    class Params(Stage.Params):
        max_hands: int = param(2, "hands to look for in a frame; more than two where several people are in view")
        model_complexity: int = param(1, "landmark network: 0 is lighter, 1 is more accurate")
        min_detection_confidence: float = param(0.5, "palm detector's score (0..1) from which a hand is looked at")
        min_tracking_confidence: float = param(0.5, "score (0..1) below which a hand counts as lost between frames")
        static_image_mode: bool = param(False, "detect anew in every frame instead of following hands; slower")
        max_gap: int = param(3, "frames that a hand may be lost and still be the same hand")

    def setup(self) -> None:
        hands = _import_hands()
        self._graph: Any = hands.Hands(
            static_image_mode=self.params.static_image_mode,
            max_num_hands=self.params.max_hands,
            model_complexity=self.params.model_complexity,
            min_detection_confidence=self.params.min_detection_confidence,
            min_tracking_confidence=self.params.min_tracking_confidence,
        )

    def process(self, segment: Segment, fields: Fields) -> Fields:
        self._graph.reset()  # hands followed in another segment's last frame must not be looked for in this one's first
        frames = [_detections(self._graph.process(np.ascontiguousarray(rgb))) for rgb in fields["frames.rgb"]]
        size = fields["frames.rgb"].shape[2:0:-1]
        found = [[_in_pixels(detection, size) for detection in frame] for frame in frames]
        sides = assign_sides(found, max_gap=self.params.max_gap)
        return lift_hands(sides, fields["camera.intrinsics"], fields.get("camera.depth"), metric=segment.video.metric)

    def teardown(self) -> None:
        self._graph.close()


def _import_hands() -> Any:
    """Import MediaPipe's hand graph alone.

    `import mediapipe` pulls in every other solution and the newer task interface, and with them jax, matplotlib,
    OpenCV's GUI build and sounddevice, none of which the hand graph uses. Bare packages in their place let its
    module be imported without running their `__init__`.
    """
    spec = importlib.machinery.PathFinder.find_spec("mediapipe")
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentBroken("mediapipe is not installed here; run the stage with `env: mediapipe`")
    root = spec.submodule_search_locations[0]
    solutions = os.path.join(root, "python", "solutions")
    for name, folder in (("mediapipe", root), ("mediapipe.python.solutions", solutions)):
        if name not in sys.modules:
            package = types.ModuleType(name)
            package.__path__ = [folder]
            sys.modules[name] = package
    try:
        return importlib.import_module("mediapipe.python.solutions.hands")
    except ImportError as error:
        raise EnvironmentBroken(f"mediapipe cannot be imported: {error}; 0.10.21 needs numpy<2, protobuf<5") from error


def _detections(result: Any) -> list[Detection]:
    """What MediaPipe found in a frame, `uv` still as shares of the image's width and height."""
    found = zip(
        result.multi_hand_landmarks or (), result.multi_hand_world_landmarks or (), result.multi_handedness or ()
    )
    rows = []
    for image, world, handedness in found:
        best = handedness.classification[0]
        # MediaPipe takes its input for a mirrored selfie: in plain video its "Left" is the person's right hand.
        right = best.score if best.label == "Left" else 1 - best.score
        uv = np.array([(p.x, p.y) for p in image.landmark])
        shape = np.array([(p.x, p.y, p.z) for p in world.landmark])
        rows.append(Detection(uv, shape, right=right, score=best.score))
    return rows


def _in_pixels(detection: Detection, size: tuple[int, ...]) -> Detection:
    # MediaPipe counts from the image's edge, GeoFlow from the first pixel's centre.
    return Detection(detection.uv * size - 0.5, detection.shape_m, detection.right, detection.score)
