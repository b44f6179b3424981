"""WiLoR (Potamias et al. 2025, arXiv:2409.12259) with MANO's hand model, in `runtime_envs/wilor.yaml`.

The network is `geoflow/models/wilor`, the hand model `geoflow/models/mano`. This module finds hands with MediaPipe's
networks, or with the user's own ultralytics, and gives what WiLoR sees of them. Not run with the published weights yet:
the tests run it on a CPU with small made-up weights and a made-up hand model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from geoflow.backends.hand_params import SMOOTHING, HandParams
from geoflow.backends.torch_stage import TorchStage
from geoflow.geometry.hands.hand_boxes import box_of, detection_in
from geoflow.geometry.hands.hand_finding import linked
from geoflow.geometry.hands.hand_pose import MIN_DEPTH_M
from geoflow.geometry.hands.hand_rows import ARRAYS, GIVEN, hand_fields, names_of
from geoflow.geometry.hands.hand_sides import Detection, HandTrack, sides_of
from geoflow.geometry.hands.posed_hands import MODEL_ARRAYS, VERTICES, HandStates, PosedHand, lift_posed_hands
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param

_YOLO_SCORE = 0.3  # from which the published program takes a box for a hand's
_LEAST_FRAMES = 3  # that show a hand of a detector that is not asked twice; in a shorter segment, all


class WiLoR(TorchStage):
    """Hands with MANO pose and shape: the main left and right hand of each frame, and `max_hands` rows for all hands.

    The camera's focal length and principal point give each hand its place. A hand has one shape over its frames. Where
    `camera.depth` is known under a hand, the hand is moved along its rays to that depth, `wrist_depth_offset` behind
    the skin, and grows or shrinks with it; without depth, distances are as true as WiLoR's idea of the hand's size.
    Hands are in the scene's unit if their depth is known or the video is metric, otherwise in metres.

    The pixels are the projection of the joints, which are those of the hand model in the pose, shape and scale that are
    given. Of the detector, only places, sides and scores remain.
    """

    slot = "hands"
    inputs = ("frames.rgb", "camera.intrinsics")
    optional = ("frames.time", "camera.depth", "camera.cam_from_world", "camera.valid")
    outputs = GIVEN + names_of(MODEL_ARRAYS)
    honours = frozenset({"intrinsics"})  # by way of the camera's
    packages = ("torch", "mediapipe==0.10.21")
    ladder = ({"batch_size": 4}, {"batch_size": 1}, {"half_precision": True}, {"every": 2})

    @dataclass(frozen=True)
    class Params(HandParams, TorchStage.Params):
        half_precision: bool = param(False, "compute the transformer in float16 on a GPU")
        detector: Literal["mediapipe", "yolo"] = param(
            "mediapipe", "what finds hands; yolo: your own ultralytics (AGPL-3.0) with WiLoR's detector.pt"
        )
        batch_size: int = param(16, "hands computed at once", at_least=1)
        every: int = param(
            1,
            "frames from one look at a hand to the next; those between are filled (max_interpolation_gap)",
            at_least=1,
        )
        max_disagreement: float = param(
            0.5,
            "of the hand's size: mean distance of WiLoR's joints from the detector's from which on a sight is left out "
            "(for yolo, of the joints' middle from the box's); 0: none is left out",
            at_least=0,
        )
        rescale: float = param(2.0, "side of the square that is cut out, over the hand's box", at_least=1)
        smoothing: float = param(1.5, SMOOTHING, at_least=0)
        vertices: bool = param(False, "give the 778 vertices of each hand, too")
        weights: str = param("", "folder with wilor_final.ckpt; empty: as pinned in configs/models.yaml")
        mano: str = param("", "folder with MANO_RIGHT.pkl; empty: the folder that `geoflow models list` names")
        detector_weights: str = param("", "folder with detector.pt, for yolo")

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        more = (VERTICES,) if self.params.vertices else ()
        self._names, self.optional_outputs = MODEL_ARRAYS + more, names_of(more)

    def weights(self) -> dict[str, str]:
        own = {"checkpoint": self.params.weights, "mano": self.params.mano}
        return {**own, "detector": self.params.detector_weights} if self.params.detector == "yolo" else own

    def load(self) -> Any:
        from geoflow.models.wilor import from_checkpoint

        found = self.located()
        if self.params.detector == "yolo":
            self._find: Any = _Yolo(found["detector"] / "detector.pt", self.device)
        else:
            from geoflow.models.mediapipe.eye import MediaPipeEye

            self._find = MediaPipeEye(self.params.model_complexity, self.params.min_detection_confidence)
        dtype = self.dtype if self.half else None
        paths = found["checkpoint"] / "wilor_final.ckpt", found["mano"] / "MANO_RIGHT.pkl"
        return from_checkpoint(*paths, device=self.device, dtype=dtype)

    def compute(self, segment: Segment, fields: Fields) -> Fields:
        frames, cameras = list(fields["frames.rgb"]), self.params.cameras(fields)
        tracks = self._tracks(frames, segment.video.fps)
        hands = self._posed(tracks, sides_of(tracks, len(frames)), frames, cameras)
        given = self.params.scene(segment, fields) | {"vertices": self.params.vertices}
        shape = self.model.shape if self.params.vertices else self.model.shape.only_joints()
        lifted, main = lift_posed_hands(hands, shape.of_side, cameras, **given)
        return hand_fields(lifted, main, len(frames), self.params.max_hands, ARRAYS + self._names)

    def teardown(self) -> None:
        if (find := getattr(self, "_find", None)) is not None:
            find.close()
        self._find = None
        super().teardown()

    def _tracks(self, frames: Sequence[np.ndarray], fps: float) -> list[HandTrack]:
        if self.params.detector == "mediapipe":
            return self.params.tracks(frames, self._find, fps)
        tracks = linked([self._find.detections(rgb) for rgb in frames], self.params.rules(fps))
        return [track for track in tracks if len(track.frames) >= min(_LEAST_FRAMES, len(frames))]

    def _posed(
        self, tracks: Sequence[HandTrack], sides: Sequence[str], frames: Sequence[np.ndarray], k: np.ndarray
    ) -> list[PosedHand]:
        """Return what WiLoR sees of each track, without tracks of which it sees nothing before the camera."""
        from geoflow.models.wilor.clip import Look, predict_clip

        rows = [(n, i) for n, track in enumerate(tracks) for i in _chosen(track.frames, self.params.every)]
        looks = [Look(tracks[n].frames[i], box_of(tracks[n].detections[i].uv), sides[n] == "right") for n, i in rows]
        seen = predict_clip(self.model, frames, looks, k, self.params.batch_size, self.params.rescale)
        joints = seen.joints_in_camera
        good = np.isfinite(joints).all((1, 2)) & (joints[..., 2] > MIN_DEPTH_M).all(1)
        good &= np.array([self._agrees(uv, tracks[n].detections[i]) for uv, (n, i) in zip(seen.uv, rows)], bool)
        number = np.array([n for n, _ in rows], int)
        score = np.array([tracks[n].detections[i].score for n, i in rows])
        where = np.array([look.frame for look in looks], int)
        found = []
        for n, track in enumerate(tracks):
            own = np.flatnonzero(good & (number == n))
            wrist = joints[own, 0].astype(np.float64)
            states = HandStates(where[own], seen.rotations[own], seen.betas[own], wrist, np.ones(len(own)), score[own])
            if len(own):
                found.append(PosedHand(sides[n], track.right(), track.strength(), states))
        return found

    def _agrees(self, uv: np.ndarray, detection: Detection) -> bool:
        """Return whether WiLoR sees the hand that was found: it gives one for whatever a square shows."""
        if not self.params.max_disagreement:
            return True
        off = uv - detection.uv
        far = np.linalg.norm(off, axis=1).mean() if self.params.detector == "mediapipe" else np.linalg.norm(off.mean(0))
        return bool(far <= self.params.max_disagreement * detection.size_px)


def _chosen(frames: Sequence[int], every: int) -> list[int]:
    """Return which of a track's frames are looked at: those `every` frames apart, and the last; others lie between.

    >>> _chosen([3, 4, 5, 6, 9, 10], 2)
    [0, 2, 4, 5]
    """
    chosen = [0]
    for i, frame in enumerate(frames):
        if frame - frames[chosen[-1]] >= every or i == len(frames) - 1 > 0:
            chosen.append(i)
    return chosen


class _Yolo:
    """WiLoR's own detector, by the user's ultralytics."""

    def __init__(self, path: Any, device: str) -> None:
        from ultralytics import YOLO

        self._network, self._device = YOLO(str(path)), device

    def detections(self, rgb: np.ndarray) -> list[Detection]:
        """Return the hands in (H, W, 3) uint8; class 1 is a right hand."""
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        boxes = self._network.predict(bgr, conf=_YOLO_SCORE, device=self._device, verbose=False)[0].boxes
        rows = (values.cpu().numpy() for values in (boxes.xyxy, boxes.cls, boxes.conf))
        return [detection_in(box, bool(side), float(score)) for box, side, score in zip(*rows)]

    def close(self) -> None:
        self._network = None
