"""The conventions of scripts that build training files out of ViPE, TAPIP3D and WiLoR, and three faults that such
scripts have, each with numbers that only the right way gives.

1. A pose relative to the first of a window is E_t E_0^-1 where E maps the world into the camera; E_0^-1 E_t is none.
2. Joints of MANO's hand come rotated by the wrist's rotation; to rotate them again turns the hand twice.
3. A left hand is seen in a mirror: its joints are mirrored, and its rotation, too: M R M with M = diag(-1, 1, 1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from geoflow.export import export_store
from geoflow.export.y2r import export_y2r

FIRST, SIZE = 4, 24  # a window's first frame; pixels of the middle square of 48
WORLD_X_IS_AHEAD = np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]]).T  # the camera looks along the world's x
QUARTER = np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]])  # a quarter turn about z
WRIST = np.array([0.1, -0.05, 2.0])
MIRROR = np.diag([-1.0, 1, 1])


def window_of(store: Path, out: Path) -> dict[str, np.ndarray]:
    """The window of three frames that begins at frame FIRST, and the intrinsics of the pictures."""
    export_store(store, "y2r", out, num_track_ts=3, target_size=SIZE)
    with h5py.File(out) as file:
        group = file[f"root/tracks/frame_{FIRST:04d}"]
        return {name: item[()] for name, item in group.items()} | {"k": file["root/intrinsics"][()]}


def walk(file: h5py.File) -> None:
    """Turn the camera by a quarter, and let it walk ahead by half a unit a frame."""
    poses = np.tile(np.eye(4), (8, 1, 1))
    poses[:, :3, :3] = WORLD_X_IS_AHEAD
    poses[:, :3, 3] = [1, 0, 0]
    poses[:, 2, 3] = -0.5 * np.arange(8)
    file["camera/cam_from_world"][:] = poses
    file["camera/valid"][:] = True
    # One point of the world, five units ahead of frame 4.
    point = np.linalg.inv(poses[FIRST]) @ [0.25, 0.5, 5, 1]
    file["tracks/xyz"][:] = point[:3]
    file["tracks/visible"][:] = True


def test_relative_poses_have_the_inverse_on_the_right(change: Any, tmp_path: Path) -> None:
    found = window_of(change(walk), tmp_path / "a.hdf5")
    # The camera is half a unit further ahead each frame: what was there is half a unit nearer.
    assert found["poses"].tolist() == [
        [1, 0, 0, 0, 1, 0, 0, 0, 0],
        [1, 0, 0, 0, 1, 0, 0, 0, -0.5],
        [1, 0, 0, 0, 1, 0, 0, 0, -1.0],
    ]
    first, second = (np.block([[WORLD_X_IS_AHEAD, np.array([[1.0], [0], [z]])], [0, 0, 0, 1]]) for z in (-2.0, -2.5))
    wrong = np.linalg.inv(first) @ second  # the inverse on the left says that it went sideways
    np.testing.assert_allclose(wrong[:3, 3], [-0.5, 0, 0], atol=1e-12)


def test_a_resting_point_has_no_displacement_and_its_poses_lead_to_its_pixels(change: Any, tmp_path: Path) -> None:
    found = window_of(change(walk), tmp_path / "a.hdf5")
    k = found["k"].astype(float)
    u, v = k[0, 0] * 0.25 / 5 + k[0, 2], k[1, 1] * 0.5 / 5 + k[1, 2]
    np.testing.assert_allclose(found["query_coords"][0], [u / SIZE, v / SIZE, 5], atol=1e-6)
    np.testing.assert_allclose(found["displacements"], 0, atol=1e-6)
    # In frame 6 the point is four units ahead, since the relative pose takes it there.
    rotation = np.stack([found["poses"][2, :3], found["poses"][2, 3:6], [0, 0, 1]], axis=1)
    np.testing.assert_allclose(rotation @ [0.25, 0.5, 5] + found["poses"][2, 6:], [0.25, 0.5, 4])


def turned_hand(file: h5py.File) -> None:
    """A hand turned by a quarter about z, whose second joint is 8 cm along the x axis of the wrist."""
    rest = np.zeros((21, 3))
    rest[1] = [0.08, 0, 0]
    for i in range(FIRST, 8):
        file["hands/left/joints"][i] = rest @ QUARTER.T + WRIST
        file["hands/left/wrist"][i] = np.block([[QUARTER, WRIST[:, None]], [0, 0, 0, 1]])


def test_joints_are_rotated_once(change: Any, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    export_store(change(turned_hand), "lerobot", tmp_path / "out")
    row = pandas.read_parquet(tmp_path / "out/data/chunk-000/file-000.parquet").iloc[FIRST]
    joints = np.stack(row["observation.hands.left.joints"]).astype(float)
    wrist = np.stack(row["observation.hands.left.wrist"]).astype(float)
    np.testing.assert_allclose(joints[1] - joints[0], [0, 0.08, 0], atol=1e-6)  # twice would be (-0.08, 0, 0)
    rest = (joints - wrist[:3, 3]) @ wrist[:3, :3]
    np.testing.assert_allclose(rest[1], [0.08, 0, 0], atol=1e-6)


def two_hands(file: h5py.File) -> None:
    """A right hand that turns by 0.3 rad a frame about an axis of no symmetry, and the left one in the mirror x = 0."""
    file["camera/intrinsics"][:, 0, 2] = 31.5  # the mirror is in the middle of the picture
    axis = np.array([1.0, 2, 2]) / 3
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    for name, item in file["hands/left"].items():
        file[f"hands/right/{name}"] = item[()]
    for i in range(FIRST, 8):
        turn = 0.3 * (i - FIRST)
        rotation = QUARTER @ (np.eye(3) + np.sin(turn) * cross + (1 - np.cos(turn)) * cross @ cross)
        file["hands/right/wrist"][i] = np.block([[rotation, WRIST[:, None]], [0, 0, 0, 1]])
        mirrored = np.block([[MIRROR @ rotation @ MIRROR, (MIRROR @ WRIST)[:, None]], [0, 0, 0, 1]])
        file["hands/left/wrist"][i] = mirrored


def test_left_hands_are_right_hands_in_the_mirror(change: Any, tmp_path: Path) -> None:
    found = window_of(change(two_hands), tmp_path / "a.hdf5")
    right, left = ({n: found[f"{side}_wrist_{n}"] for n in NAMES} for side in ("right", "left"))
    np.testing.assert_allclose(right["query_rot_6d"], [0, 1, 0, -1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(left["query_rot_6d"], [0, -1, 0, 1, 0, 0], atol=1e-6)  # not mirrored: as the right one
    signs = np.array([1, -1, -1, -1, 1, 1])  # of the first two columns of M R M
    np.testing.assert_allclose(left["rot_displacements"], right["rot_displacements"] * signs, atol=1e-6)
    assert np.abs(right["rot_displacements"][2] * (1 - signs)).max() > 0.2  # so that a missing mirror would be seen
    u, v, d = right["query_uvd"]
    np.testing.assert_allclose(left["query_uvd"], [1 - u, v, d], atol=1e-6)
    assert u > 0.55


NAMES = ("query_uvd", "query_rot_6d", "rot_displacements")


def test_wilors_left_hands_are_turned_as_their_joints_are() -> None:
    """What the network says of a left hand are numbers of the right one in the mirror: both go through it."""
    pytest.importorskip("torch")
    from geoflow.models.mano.body import mirrored_points
    from geoflow.models.mano.rotations import mirrored

    rest, turn = np.array([[0.08, 0.0, 0.02]]), QUARTER
    seen = rest @ turn.T  # joints come rotated
    joints, rotation = mirrored_points(seen), mirrored(turn)
    np.testing.assert_allclose(joints, [[0, 0.08, 0.02]], atol=1e-12)
    np.testing.assert_allclose(rotation, MIRROR @ turn @ MIRROR)
    # The left hand's own rest pose, turned once by its own rotation, is what is seen.
    np.testing.assert_allclose(mirrored_points(rest) @ rotation.T, joints, atol=1e-12)
    assert np.abs(mirrored_points(rest) @ turn.T - joints).max() > 0.1  # the rotation alone not mirrored


def test_the_docstring_says_so() -> None:
    text = " ".join((export_y2r.__doc__ or "").split())
    assert "E_t E_0^-1" in text and "M R M" in text and "rotated already" in text
