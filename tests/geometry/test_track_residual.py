"""Tracked points that rest are where right poses place them; wrong poses place them elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from geoflow.geometry.cameras import pinhole, project
from geoflow.geometry.motion.track_residual import track_residual

COUNT = 12


def walk() -> dict[str, np.ndarray]:
    """40 points at rest, 4 m before a camera of 100 px focal length that walks sideways."""
    points = np.random.default_rng(0).uniform([-1, -1, 4], [1, 1, 4.001], (40, 3))
    poses = np.tile(np.eye(4), (COUNT, 1, 1))
    poses[:, 0, 3] = -0.05 * np.arange(COUNT)
    k = np.tile(pinhole(100, 120, 160), (COUNT, 1, 1)).astype(np.float64)
    return {
        "xyz": np.tile(points, (COUNT, 1, 1)),
        "uv": np.stack([project(points + pose[:3, 3], k[0]) for pose in poses]),
        "visible": np.ones((COUNT, 40), bool),
        "intrinsics": k,
        "cam_from_world": poses,
        "valid": np.ones(COUNT, bool),
    }


def test_right_poses_explain_points_also_beside_some_that_move() -> None:
    given = walk()
    given["uv"][:, :15] += 5.0 * np.arange(COUNT)[:, None, None]
    assert track_residual(**given, steps=(3, 8)) == pytest.approx(np.zeros(COUNT), abs=1e-6)


def test_a_wrong_pose_leaves_pixels_unexplained() -> None:
    given = walk()
    given["cam_from_world"][6, 1, 3] += 0.08  # m: 2 px at 4 m
    found = track_residual(**given, steps=(3,))
    assert found[6] == pytest.approx(2, abs=1e-3) and np.delete(found, 6) == pytest.approx(np.zeros(11), abs=1e-6)


def test_places_that_differ_from_frame_to_frame_do_so_too() -> None:
    given = walk()
    given["xyz"][6:, :, 1] += 0.04  # m: 1 px at 4 m
    found = track_residual(**given, steps=(3,))
    assert found[7] == pytest.approx(0.5, abs=1e-3), "one of two neighbours places them 1 px away"
    assert found[0] == pytest.approx(0, abs=1e-6)


def test_without_shared_points_or_a_pose_it_is_unknown() -> None:
    given = walk()
    given["visible"][:6, :35] = False  # five points are too few
    given["valid"][9] = False
    given["cam_from_world"][9] = np.nan
    found = track_residual(**given, steps=(3,))
    assert np.isnan(found[[0, 1, 5, 9]]).all() and found[[7, 8, 10]] == pytest.approx(np.zeros(3), abs=1e-6)
