"""Tracked points that rest do not wander in the world; wrong poses and wrong depth let them."""

from __future__ import annotations

import numpy as np
import pytest

from geoflow.geometry.motion.track_wander import track_wander

COUNT = 12


def world(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """40 points at rest, 4 m before a camera that walks sideways."""
    points = np.random.default_rng(seed).uniform([-1, -1, 4], [1, 1, 4.001], (40, 3))
    poses = np.tile(np.eye(4), (COUNT, 1, 1))
    poses[:, 0, 3] = -0.05 * np.arange(COUNT)
    return np.tile(points, (COUNT, 1, 1)), np.ones((COUNT, 40), bool), poses, np.ones(COUNT, bool)


def test_points_at_rest_stay_also_beside_some_that_move() -> None:
    xyz, visible, poses, valid = world()
    xyz[:, :15] += 0.1 * np.arange(COUNT)[:, None, None]
    assert track_wander(xyz, visible, poses, valid, (3, 8)).max() == 0


def test_the_shift_is_relative_to_depth() -> None:
    xyz, visible, poses, valid = world()
    xyz[6:, :, 1] += 0.4  # from frame 6 on the poses are off by 0.4 m, 4 m before the points
    found = track_wander(xyz, visible, poses, valid, (3,))
    assert found[[0, 1, 2]] == pytest.approx([0, 0, 0]) and found[-3:] == pytest.approx([0, 0, 0])
    assert found[[3, 5, 6, 8]] == pytest.approx([0.05] * 4, abs=1e-3), "one of two neighbours is beyond the step"


def test_without_shared_points_or_a_pose_it_is_unknown() -> None:
    xyz, visible, poses, valid = world()
    visible[:6, :35] = False  # five points are too few
    valid[9] = False
    poses[9] = np.nan
    found = track_wander(xyz, visible, poses, valid, (3,))
    assert np.isnan(found[[0, 1, 5, 9]]).all() and found[[7, 8, 10]] == pytest.approx([0, 0, 0], abs=1e-6)
