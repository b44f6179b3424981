"""Clips of one to a few frames go through all embedded stages that run without an environment of their own."""

from __future__ import annotations

import hard_clips
import numpy as np
import pytest

from actors.embedded.colmap import Colmap
from actors.embedded.klt import Klt
from actors.embedded.motion_stereo import MotionStereo
from actors.embedded.temporal_fusion import TemporalFusion
from geoflow.backends.contract import surveyed
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Fields, Stage
from geoflow.stages.stitch import Stitch


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 2, 3, 5, 11])
def test_a_short_clip_goes_through_and_one_frame_shows_no_motion(count: int) -> None:
    rgb = hard_clips.walk(count).rgb
    height, width = rgb.shape[1:3]
    video = VideoInfo("v", "v.mp4", "", count, 30.0, height, width, height, width)
    segment = Segment(video, 0, 0, count)
    fields: Fields = {"frames.rgb": rgb, "frames.index": np.arange(count), "frames.time": np.arange(count) / 30}
    stages: list[Stage] = [MotionStereo(), Colmap(), TemporalFusion(), Klt(), Stitch()]
    for stage in stages:
        stage.setup()
        fields |= stage.process(segment, {**fields, **surveyed(stage, segment, fields, stage.slot)})
        stage.teardown()
    for name in ("prior.mask", "camera.valid", "geometry.mask", "tracks.visible"):
        assert len(fields[name]) == count
    posed = fields["camera.valid"]
    assert np.isfinite(fields["camera.cam_from_world"][posed]).all()
    if count == 1:
        assert not posed.any() and not fields["prior.mask"].any() and not fields["camera.depth"].any()
