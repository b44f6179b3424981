"""What a store says of frames whose pose is missing or doubtful."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geoflow.fields import (
    DOUBT_ASSUMED,
    DOUBT_FAR_OFF,
    DOUBT_FOCAL,
    DOUBT_NONE,
    DOUBT_REVERSED,
    DOUBT_STATED,
    DOUBT_UNMATCHED,
    GEOMETRY_OF_CAMERA,
    GEOMETRY_OF_PRIOR,
    MOTION_MOVING,
    MOTION_UNKNOWN,
)
from geoflow.store.lazy import Cameras
from geoflow.store.remarks import _doubtful, _lenses, _of_prior, reasons_without_pose


def _cameras(doubt: list[int], quality: list[float], valid: list[bool], motion: int = MOTION_UNKNOWN) -> Cameras:
    count = len(doubt)
    return Cameras(
        intrinsics=np.full((count, 3, 3), np.nan, np.float32),
        cam_from_world=np.full((count, 4, 4), np.nan, np.float32),
        valid=np.array(valid),
        motion=np.full(count, motion, np.uint8),
        quality=np.array(quality, np.float32),
        doubt=np.array(doubt, np.uint8),
    )


@pytest.mark.parametrize(
    "doubt, words",
    [
        (DOUBT_UNMATCHED, "too few points"),
        (DOUBT_REVERSED, "near and far"),
        (DOUBT_FAR_OFF, "far off the path"),
        (DOUBT_FOCAL, "focal length"),
    ],
)
def test_a_frame_without_a_pose_says_why(doubt: int, words: str) -> None:
    cameras = _cameras([doubt, DOUBT_NONE], [0, 1], [False, True], MOTION_MOVING)
    assert words in reasons_without_pose(cameras, np.zeros(2, np.uint8))[0]
    assert reasons_without_pose(cameras, np.zeros(2, np.uint8))[1] == ""


def test_poses_that_explain_little_are_counted() -> None:
    (said,) = _doubtful(_cameras([0] * 4, [0.1, 0.9, 0.2, 0.0], [True, True, True, False]))
    assert "2 frames" in said and "camera/quality" in said
    assert not list(_doubtful(_cameras([0], [0.9], [True])))


@pytest.mark.parametrize(
    "doubt, words", [(DOUBT_FOCAL, "hardly tell"), (DOUBT_STATED, "source states"), (DOUBT_ASSUMED, "assumed")]
)
def test_a_lens_in_doubt_is_said_of_posed_frames_only(doubt: int, words: str) -> None:
    cameras = _cameras([doubt, doubt, doubt, DOUBT_NONE], [1] * 4, [True, True, False, True])
    intrinsics = np.tile(np.diag([512, 512, 1]).astype(np.float32), (4, 1, 1))
    cameras = replace(cameras, intrinsics=intrinsics, focal_error=np.array([0.3, 0.3, np.nan, 0.02], np.float32))
    (said,) = _lenses(cameras)
    assert words in said and "2 frames" in said and "512 px" in said and "30%" in said
    assert reasons_without_pose(cameras, np.zeros(4, np.uint8))[0] == ""


def test_a_lens_that_is_known_or_well_told_is_not_remarked() -> None:
    cameras = _cameras([0, 0], [1, 1], [True, True])
    assert not list(_lenses(replace(cameras, focal_error=np.array([np.nan, 0.02], np.float32))))
    assert not list(_lenses(cameras))  # a store from before the field


def test_frames_with_depth_of_the_prior_are_counted() -> None:
    (said,) = _of_prior(np.array([GEOMETRY_OF_CAMERA, GEOMETRY_OF_PRIOR, GEOMETRY_OF_PRIOR]))
    assert "in 2 of 3 frames" in said and "geometry/source" in said
    assert not list(_of_prior(np.array([GEOMETRY_OF_CAMERA])))
