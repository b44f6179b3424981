"""Temporal fusion: which depth it takes, and which one it says that it took."""

from __future__ import annotations

import numpy as np
import plane_scene

from actors.embedded.temporal_fusion import TemporalFusion
from geoflow import fields as field_table
from geoflow.fields import GEOMETRY_OF_CAMERA, GEOMETRY_OF_NOTHING, GEOMETRY_OF_PRIOR
from geoflow.geometry.working_size import PointMaps
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Fields

COUNT, HEIGHT, WIDTH = 6, 60, 80
CLIP = plane_scene.render(plane_scene.walk(COUNT), HEIGHT, WIDTH)
NO_DEPTH = np.zeros((COUNT, HEIGHT, WIDTH), np.float16)


def _fused(camera_depth: np.ndarray, *, prior: bool = True, distortion: tuple[float, ...] | None = None) -> Fields:
    maps = PointMaps(COUNT, HEIGHT, WIDTH, CLIP.intrinsics)
    for i in range(COUNT if prior else 0):
        maps.put(i, CLIP.depth[i].astype(np.float32))
    given = {
        "frames.rgb": CLIP.rgb,
        "prior.points": maps.points,
        "prior.mask": maps.mask,
        "prior.intrinsics": maps.intrinsics,
        "camera.depth": camera_depth,
        "camera.intrinsics": np.tile(CLIP.intrinsics.astype(np.float32), (COUNT, 1, 1)),
    }
    video = VideoInfo("v", "v", "", COUNT, 30.0, HEIGHT, WIDTH, HEIGHT, WIDTH, distortion=distortion)
    stage = TemporalFusion(TemporalFusion.Params(from_camera=True))
    found = stage.process(Segment(video, 0, 0, COUNT), given)
    field_table.check(found, stage.outputs, optional=stage.optional_outputs, who="geometry", num_frames=COUNT)
    return found


def test_where_the_camera_gives_no_depth_the_prior_is_fused_and_named() -> None:
    found = _fused(NO_DEPTH)
    assert (found["geometry.source"] == GEOMETRY_OF_PRIOR).all()
    assert found["geometry.mask"].mean() > 0.9
    assert not _fused(NO_DEPTH, prior=False)["geometry.mask"].any()


def test_where_the_camera_gives_depth_it_alone_is_taken() -> None:
    depth = NO_DEPTH.copy()
    depth[2] = 3 * CLIP.depth[2]
    found = _fused(depth)
    assert found["geometry.source"].tolist() == [
        GEOMETRY_OF_CAMERA if t == 2 else GEOMETRY_OF_NOTHING for t in range(COUNT)
    ]
    assert found["geometry.mask"].any((1, 2)).tolist() == [t == 2 for t in range(COUNT)]


def test_a_prior_that_ignores_the_stated_distortion_is_not_taken() -> None:
    found = _fused(NO_DEPTH, distortion=(0.1, 0.0, 0.0, 0.0, 0.0))
    assert not found["geometry.mask"].any() and not found["geometry.source"].any()
