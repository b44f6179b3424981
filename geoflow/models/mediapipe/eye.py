"""MediaPipe's palm detector and landmark network (Zhang et al. 2020), each by itself.

MediaPipe's wheel contains both networks, so nothing is downloaded at run time.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
import types
from typing import Any

import numpy as np

from geoflow.errors import EnvironmentBroken
from geoflow.geometry.hands.hand_search import Place, Sight
from geoflow.geometry.hands.hand_sides import Detection

# The two halves of MediaPipe's own hand graph, used separately.
_PALMS = """
input_stream: "image"
input_side_packet: "model_complexity"
output_stream: "palms"
output_stream: "places"
node { calculator: "PalmDetectionCpu" input_stream: "IMAGE:image" output_stream: "DETECTIONS:palms"
       input_side_packet: "MODEL_COMPLEXITY:model_complexity" }
node { calculator: "ImagePropertiesCalculator" input_stream: "IMAGE:image" output_stream: "SIZE:size" }
node { calculator: "BeginLoopDetectionCalculator" input_stream: "ITERABLE:palms" input_stream: "CLONE:size"
       output_stream: "ITEM:palm" output_stream: "CLONE:palm_size" output_stream: "BATCH_END:end" }
node { calculator: "PalmDetectionDetectionToRoi" input_stream: "DETECTION:palm" input_stream: "IMAGE_SIZE:palm_size"
       output_stream: "ROI:place" }
node { calculator: "EndLoopNormalizedRectCalculator" input_stream: "ITEM:place" input_stream: "BATCH_END:end"
       output_stream: "ITERABLE:places" }
"""
_LANDMARKS = """
input_stream: "image"
input_stream: "place"
input_side_packet: "model_complexity"
output_stream: "joints"
output_stream: "shape"
output_stream: "handedness"
output_stream: "next_place"
output_stream: "handlandmarkcpu__hand_presence_score"
node { calculator: "HandLandmarkCpu" input_stream: "IMAGE:image" input_stream: "ROI:place"
       output_stream: "LANDMARKS:joints" output_stream: "WORLD_LANDMARKS:shape" output_stream: "HANDEDNESS:handedness"
       input_side_packet: "MODEL_COMPLEXITY:model_complexity" }
node { calculator: "ImagePropertiesCalculator" input_stream: "IMAGE_CPU:image" output_stream: "SIZE:size" }
node { calculator: "HandLandmarkLandmarksToRoi" input_stream: "IMAGE_SIZE:size" input_stream: "LANDMARKS:joints"
       output_stream: "ROI:next_place" }
"""
_SHARE_OF_PRESENCE = 0.1  # a lower score is never a hand


class MediaPipeEye:
    """MediaPipe's palm detector and landmark network, used separately. Neither keeps anything from call to call."""

    def __init__(self, complexity: int, min_score: float) -> None:
        base, self._rect = _import_mediapipe()
        side = {"model_complexity": complexity}
        score = {"palmdetectioncpu__TensorsToDetectionsCalculator.min_score_thresh": min_score}
        presence = {"handlandmarkcpu__ThresholdingCalculator.threshold": _SHARE_OF_PRESENCE}
        self._palms = base.SolutionBase(graph_config=_PALMS, side_inputs=side, calculator_params=score)
        self._landmarks = base.SolutionBase(graph_config=_LANDMARKS, side_inputs=side, calculator_params=presence)

    def propose(self, rgb: np.ndarray) -> list[Place]:
        result = self._palms.process(np.ascontiguousarray(rgb))
        return [_place(rect, rgb.shape, palm.score[0]) for rect, palm in zip(result.places or (), result.palms or ())]

    def look(self, rgb: np.ndarray, place: Place) -> Sight | None:
        height, width = rgb.shape[:2]
        rect = self._rect(
            x_center=(place.x + 0.5) / width,
            y_center=(place.y + 0.5) / height,
            width=place.side / width,
            height=place.side / height,
            rotation=place.turn,
        )
        seen = self._landmarks.process({"image": np.ascontiguousarray(rgb), "place": rect})
        if seen.joints is None or seen.next_place is None:
            return None
        best = seen.handedness.classification[0]
        # MediaPipe expects a mirrored selfie: in a normal video its "Left" is the person's right hand.
        right = best.score if best.label == "Left" else 1 - best.score
        # MediaPipe counts from the image's edge, GeoFlow from the first pixel's centre.
        uv = np.array([(p.x * width, p.y * height) for p in seen.joints.landmark]) - 0.5
        shape = np.array([(p.x, p.y, p.z) for p in seen.shape.landmark])
        presence = float(np.clip(seen.handlandmarkcpu__hand_presence_score, 0, 1))
        return Sight(Detection(uv, shape, right=right, score=presence), _place(seen.next_place, rgb.shape))

    def close(self) -> None:
        self._palms.close()
        self._landmarks.close()


def _place(rect: Any, shape: tuple[int, ...], score: float = 1.0) -> Place:
    """Convert a MediaPipe rectangle: it is square, in shares of width and height from the image's edge."""
    height, width = shape[:2]
    x, y = rect.x_center * width - 0.5, rect.y_center * height - 0.5
    return Place(x, y, rect.width * width, rect.rotation, score)


def _import_mediapipe() -> tuple[Any, Any]:
    """Import what runs a graph, and the class of its rectangles; nothing else of MediaPipe.

    `import mediapipe` loads every solution and the newer task interface, and with them jax, matplotlib, OpenCV's GUI
    build and sounddevice, none of which a graph uses. Empty packages in their place allow modules to be imported
    without running their `__init__`.
    """
    spec = importlib.machinery.PathFinder.find_spec("mediapipe")
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentBroken(
            "mediapipe is not installed here; run the stage in its own environment, as `env: mediapipe`"
        )
    root = spec.submodule_search_locations[0]
    solutions = os.path.join(root, "python", "solutions")
    for name, folder in (("mediapipe", root), ("mediapipe.python.solutions", solutions)):
        if name not in sys.modules:
            package = types.ModuleType(name)
            package.__path__ = [folder]
            sys.modules[name] = package
    try:
        importlib.import_module("mediapipe.python.solutions.hands")  # registers the options of the graphs' calculators
        base = importlib.import_module("mediapipe.python.solution_base")
        return base, importlib.import_module("mediapipe.framework.formats.rect_pb2").NormalizedRect
    except (ImportError, AttributeError) as error:
        raise EnvironmentBroken(f"mediapipe cannot be imported: {error}; 0.10.21 needs protobuf 4") from error
