"""The hands stage with pretended networks: what a segment of one frame, or of an animal, becomes."""

from __future__ import annotations

import numpy as np
import pytest
from hand_drawing import hand_joints, place

from geoflow import fields
from geoflow.backends.loading import load
from geoflow.geometry.cameras import project
from geoflow.geometry.hands.hand_search import Place, Sight
from geoflow.geometry.hands.hand_sides import Detection
from geoflow.segments import Segment, VideoInfo

K = np.array([[450, 0, 239.5], [0, 450, 179.5], [0, 0, 1]], np.float32)
JOINTS = place(hand_joints("right"), (0.0, 0.0, 0.5))
PLACE = Place(240, 180, 200, 0.0, 0.9)


class PretendedEye:
    """Proposes one place; sees a hand there with one score, and with another where it is cut out differently."""

    def __init__(self, first: float, again: float) -> None:
        self.first, self.again = first, again

    def propose(self, rgb: np.ndarray) -> list[Place]:
        return [PLACE]

    def look(self, rgb: np.ndarray, place: Place) -> Sight | None:
        score = self.first if place == PLACE else self.again
        return Sight(Detection(project(JOINTS, K), JOINTS - JOINTS.mean(0), 0.9, score), PLACE)


def _hands(count: int, eye: PretendedEye) -> dict[str, np.ndarray]:
    stage = load("embedded.mediapipe_hands")
    worker = stage(stage.Params())
    worker._eye = eye
    rgb = np.zeros((count, 360, 480, 3), np.uint8)
    given = {"frames.rgb": rgb, "camera.intrinsics": np.tile(K, (count, 1, 1))}
    video = VideoInfo("v", "v.mp4", "", count, 30.0, 360, 480, 360, 480)
    found = worker.process(Segment(video, 0, 0, count), given)
    fields.check(found, stage.outputs, who="hands", num_frames=count)
    return found


def test_a_photo_of_one_frame_has_its_hand() -> None:
    found = _hands(1, PretendedEye(0.9, 0.9))
    assert found["hands.right.valid"].tolist() == [True] and not found["hands.left.valid"].any()
    np.testing.assert_allclose(found["hands.right.joints"][0], JOINTS, atol=0.01)


@pytest.mark.parametrize("count", [1, 12])
def test_what_is_a_hand_in_one_cut_only_is_not_in_the_result(count: int) -> None:
    found = _hands(count, PretendedEye(0.9, 0.4))
    assert not found["hands.right.valid"].any() and not found["hands.left.valid"].any()
    assert np.isnan(found["hands.right.joints"]).all() and not found["hands.right.confidence"].any()
