"""Facts of frames: seams count on both their sides, and what is known only within something counts only there."""

from __future__ import annotations

import numpy as np

from geoflow.fields import MOTION_MOVING, MOTION_STILL, MOTION_UNKNOWN
from geoflow.quality.frame_facts import facts_of, seams_of


def test_a_seam_is_known_on_both_sides_and_the_larger_counts() -> None:
    starts, residuals = np.array([0, 3, 5]), np.array([np.nan, 0.1, 0.02])
    assert seams_of(starts, residuals, 7).tolist() == [0.1] * 5 + [0.02] * 2
    assert np.isnan(seams_of(np.array([0]), np.array([np.nan]), 4)).all(), "one segment has no seam"


def test_what_a_camera_does_is_a_share_of_the_frames_that_tell() -> None:
    motion = np.array([MOTION_MOVING, MOTION_UNKNOWN, MOTION_STILL])
    found = facts_of({"camera.motion": motion}.get)
    assert found["moving"][[0, 2]].tolist() == [1, 0] and np.isnan(found["moving"][1])


def test_figures_of_poses_count_where_there_is_a_pose() -> None:
    given = {"camera.valid": np.array([True, False]), "camera.quality": np.array([0.8, 0.0])}
    found = facts_of(given.get)
    assert found["pose_quality"][0] == 0.8 and np.isnan(found["pose_quality"][1]) and found["posed"].tolist() == [1, 0]


def test_a_hand_of_either_group_is_a_hand_seen() -> None:
    left, everyone = np.array([True, False, False]), np.array([[False, False], [False, True], [False, False]])
    found = facts_of({"hands.left.valid": left, "hands.all.valid": everyone}.get)
    assert found["hands_visible"].tolist() == [1, 1, 0] and "hands_visible" not in facts_of({}.get)
