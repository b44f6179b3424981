"""A run with `wilor`: MediaPipe's boxes, a small network, a made-up MANO file, in an environment that Ray builds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

import made_up_mano
from hand_drawing import draw, hand_joints, place
from small_wilor import write_checkpoint

import geoflow
from geoflow.geometry.cameras import project
from geoflow.models.mano.rotations import from_axis_angle
from geoflow.pipeline import Pipeline
from geoflow.store.verify import verify_run

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.env, pytest.mark.usefixtures("ray_session")]

HEIGHT, WIDTH, COUNT = 360, 480, 6
K = np.array([[450, 0, 239.5], [0, 450, 179.5], [0, 0, 1]], np.float32)


def test_hands_of_the_hand_model_are_in_the_store(tmp_path: Path) -> None:
    weights, frames = tmp_path / "weights", tmp_path / "clip"
    weights.mkdir()
    frames.mkdir()
    write_checkpoint(weights / "wilor_final.ckpt")
    made_up_mano.write_pickle(weights / "MANO_RIGHT.pkl")
    truth = {}
    for i in range(COUNT):
        truth = {
            "left": place(hand_joints("left"), (-0.13 - 0.005 * i, 0.02, 0.55), roll_deg=10),
            "right": place(hand_joints("right"), (0.13, 0.0, 0.45 + 0.01 * i), roll_deg=-10),
        }
        cv2.imwrite(str(frames / f"{i:03d}.png"), draw(list(truth.values()), K, HEIGHT, WIDTH)[0][..., ::-1])
    own = {"weights": str(weights), "mano": str(weights), "vertices": True, "smoothing": 0.0}
    own |= {"max_disagreement": 0.0}  # what a made-up network says of a hand has nothing to do with it
    settings = {"hands.backend": "wilor", "hands.env": "wilor", "hands.optional": False}
    pipeline = Pipeline.load("embedded").without(["prior", "geometry", "tracks"])
    result = geoflow.run(
        frames,
        tmp_path / "out",
        pipeline.with_settings(settings | {f"hands.{name}": value for name, value in own.items()}),
        intrinsics=[450, 450, 239.5, 179.5],
    )
    assert result.exit_status == 0 and verify_run(tmp_path / "out") == []
    with geoflow.open(result.videos[0].path) as video:
        for side, joints in truth.items():
            hand = getattr(video.hands, side)
            assert hand.valid.all() and hand.vertices.shape == (COUNT, 778, 3)
            for i in range(COUNT):
                assert np.abs(project(hand.joints[i], K) - hand.uv[i]).max() < 1e-2
            centre = project(joints, K).mean(0)
            assert np.linalg.norm(hand.uv[-1].mean(0) - centre) < 150, "a made-up network, but in the right crop"
            body, turns = made_up_mano.body(), from_axis_angle(hand.mano_pose)
            made, _ = body.of_side(turns, hand.betas, side)
            placed = (made - made[:, :1]) * hand.mano_scale[:, None, None] + hand.joints[:, :1]
            np.testing.assert_allclose(placed, hand.joints, atol=1e-5)
        assert "CC-BY-NC-ND" in str(video.file.attrs["pipeline"]) and "MANO" in str(video.file.attrs["pipeline"])
