"""The main job end to end: real video in, scored store out, through real actors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import geoflow
from geoflow.demo import demo
from geoflow.evaluate import evaluate_store
from geoflow.fields import MOTION_STILL
from geoflow.store.verify import verify_run
from geoflow.synth import render_clip

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

WITHOUT_HANDS = geoflow.Pipeline.load("embedded").without(["hands"])


def test_a_clip_becomes_a_scored_dataset(tmp_path: Path) -> None:
    """Bounds are those promised for the demo's clip; this one is smaller and shorter, and keeps well within them."""
    result = demo(
        tmp_path,
        pipeline=WITHOUT_HANDS,
        num_frames=48,
        size=(240, 180),
        settings={"segment.size": 36, "segment.overlap": 18, "prior.every": 1},
    )
    scores = result.scores
    assert result.run.exit_status == 0 and scores is not None
    assert verify_run(tmp_path) == []
    assert scores.geometry.abs_rel <= 0.10 and scores.geometry.delta1 >= 0.90
    assert scores.geometry.coverage >= 0.60
    assert scores.prior.abs_rel > scores.geometry.abs_rel
    assert scores.prior.flicker > scores.geometry.flicker
    assert scores.geometry.abs_rel < scores.constant_plane.abs_rel / 3
    assert scores.poses.frames_posed == 1.0 and scores.poses.ate_percent <= 2.0
    assert scores.tracks.error_percent <= 8.0  # their scale hangs on a path of under a metre here
    page = result.report.read_text()
    assert "AbsRel" in page and not re.search(r"(?:src|href)=.?(?:https?:)?//", page), "it needs nothing but itself"
    assert json.dumps(result.to_dict())  # what `geoflow demo --json` prints


def test_a_still_camera_is_reported_and_nothing_is_made_up(tmp_path: Path) -> None:
    render_clip(tmp_path / "still.mp4", tmp_path / "still.gt.h5", num_frames=24, width=160, height=120, motion="still")
    result = geoflow.run(tmp_path / "still.mp4", tmp_path / "out", WITHOUT_HANDS)
    with geoflow.open(result.videos[0].path) as video:
        assert (video.cameras.motion[:] == MOTION_STILL).all()
        assert not video.cameras.valid[:].any()
        assert np.isnan(video.cameras.cam_from_world[:]).all()
        assert not video.depth[:].any()
    scores = evaluate_store(result.videos[0].path, tmp_path / "still.gt.h5")
    assert scores.geometry is None or scores.geometry.coverage == 0


@pytest.mark.slow
@pytest.mark.env
def test_without_the_hands_environment_the_rest_goes_on(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text('pip: {packages: [no-such-package-geoflow==1.0], pip_install_options: ["--no-index"]}')
    render_clip(tmp_path / "clip.mp4", tmp_path / "clip.gt.h5", num_frames=40, width=160, height=120)
    result = geoflow.run(tmp_path / "clip.mp4", tmp_path / "out", settings={"hands.env": str(broken)})
    assert result.exit_status == 0
    assert "no-such-package-geoflow" in result.disabled["hands"]
    assert verify_run(tmp_path / "out") == []
    with geoflow.open(result.videos[0].path) as video:
        # All other stages have had their say; how good it is on a clip so small is the encoder's luck.
        shares = [(video.prior_depth[i] > 0).mean() for i in range(len(video))]
        assert max(shares) > 0.3 and np.count_nonzero(shares) < len(
            video
        )  # one frame in ten where the camera has depth
        assert video.cameras is not None and video.tracks is not None and len(video.depth) == 40
        assert video.hands is None
