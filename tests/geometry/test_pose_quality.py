"""How far poses and depth can be believed, by the points that were followed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import plane_scene
import pytest

from geoflow.geometry.motion.camera_motion import chain_points
from geoflow.geometry.motion.lifting import CamerasWithDepth
from geoflow.geometry.motion.pose_quality import explained_tracks

COUNT = 12


@pytest.fixture(scope="module")
def walk() -> tuple[np.ndarray, CamerasWithDepth]:
    """Followed points of a walk past planes, and its true cameras."""
    clip = plane_scene.render(plane_scene.walk(COUNT), 84, 112)
    lens = np.tile(clip.intrinsics, (COUNT, 1, 1))
    return chain_points(clip.grays).uv, CamerasWithDepth(lens, clip.cam_from_world, clip.depth, np.ones(COUNT, bool))


def test_true_cameras_explain_what_was_followed(walk: tuple[np.ndarray, CamerasWithDepth]) -> None:
    share = explained_tracks(*walk)
    assert share.shape == (COUNT,) and share.dtype == np.float32 and (share > 0.95).all()


def test_a_path_run_backwards_does_not(walk: tuple[np.ndarray, CamerasWithDepth]) -> None:
    uv, cameras = walk
    share = explained_tracks(uv, replace(cameras, cam_from_world=cameras.cam_from_world[::-1]))
    assert share.mean() < 0.6 and share[[0, -1]].max() < 0.3


def test_without_poses_or_depth_nothing_is_explained(walk: tuple[np.ndarray, CamerasWithDepth]) -> None:
    uv, cameras = walk
    some = np.arange(COUNT) < 8
    share = explained_tracks(uv, replace(cameras, valid=some))
    assert (share[:8] > 0.95).all() and not share[8:].any()
    assert not explained_tracks(uv, replace(cameras, depth=np.zeros_like(cameras.depth))).any()
    assert not explained_tracks(uv, replace(cameras, valid=np.zeros(COUNT, bool))).any()
    assert not explained_tracks(uv[:, :0], cameras).any()
