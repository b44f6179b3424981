"""Depth of a segment whose camera poses are given, on two planes whose depth is exact."""

from __future__ import annotations

import cv2
import numpy as np
import planes
import pytest

from geoflow.errors import StageError
from geoflow.fields import MOTION_MOVING, MOTION_STILL
from geoflow.geometry.cameras import pixel_grid
from geoflow.geometry.lens_distortion import straighten
from geoflow.geometry.motion.camera_motion import Chains
from geoflow.geometry.motion.known_poses import depth_of_known_poses, known_structure
from geoflow.geometry.rigid import Sim3, invert

COUNT = 12
POSES = planes.handheld(COUNT)
KS = np.tile(planes.INTRINSICS.astype(float), (COUNT, 1, 1))
LENS = (-0.25, 0.08, 1e-3, -1e-3, 0.0)
SIZE = (planes.HEIGHT, planes.WIDTH)


@pytest.fixture(scope="module")
def seen() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [planes.look(pose) for pose in POSES]


def _rgb(seen) -> np.ndarray:
    return np.stack([picture for _, _, picture in seen])


def _off(depth: np.ndarray, seen, scale: float = 1.0) -> float:
    """Median relative error of what is claimed."""
    true = np.stack([z for z, _, _ in seen])
    held = (depth > 0) & (true > 0)
    assert held.mean() > 0.3
    return float(np.median(np.abs(depth[held] / (scale * true[held]) - 1)))


def _cloud(noise: float = 0.1, lens: tuple[float, ...] | None = None) -> tuple[np.ndarray, Chains]:
    rng = np.random.default_rng(1)
    xyz = rng.uniform([-2, -1.5, 2], [2, 1.5, 6], (300, 3))
    here = np.einsum("tij,nj->tni", POSES[:, :3, :3], xyz) + POSES[:, None, :3, 3]
    slopes = here[..., :2] / here[..., 2:]
    uv = slopes * planes.INTRINSICS[0, 0] + planes.INTRINSICS[:2, 2] + rng.normal(0, noise, slopes.shape)
    uv[~((uv >= 0).all(-1) & (uv[..., 0] < SIZE[1]) & (uv[..., 1] < SIZE[0]))] = np.nan
    return xyz, Chains(uv.astype(np.float32), list(range(COUNT)), *SIZE)


def test_points_lie_where_the_given_poses_see_them() -> None:
    xyz, chains = _cloud()
    uv = chains.uv.copy()
    uv[5, 10:20] += 25  # wrong in one frame: outvoted
    uv[:, 20:25] += np.random.default_rng(2).uniform(-30, 30, (COUNT, 5, 2)).astype(np.float32)  # wrong throughout
    found = known_structure(Chains(uv, chains.keyframes, *SIZE), KS, POSES)
    assert (found.cam_from_world == POSES).all() and found.valid.all()
    often = np.isfinite(chains.uv[..., 0]).sum(0) >= 6
    often[20:25] = False
    placed = np.isfinite(found.xyz[:, 0])
    assert placed[often].mean() > 0.95 and not placed[20:25].any()
    error = np.linalg.norm(found.xyz - xyz, axis=1)[placed & often]
    assert np.median(error) < 0.03 and error.max() < 0.4  # at 0.1 px, 0.5 of baseline, up to 6 away


def test_a_frame_without_a_pose_takes_no_part() -> None:
    xyz, chains = _cloud()
    poses = POSES.copy()
    poses[[0, 6]] = np.nan
    found = known_structure(chains, KS, poses)
    assert np.flatnonzero(~found.valid).tolist() == [0, 6]
    placed = np.isfinite(found.xyz[:, 0])
    assert placed.mean() > 0.5 and np.median(np.linalg.norm(found.xyz - xyz, axis=1)[placed]) < 0.05


def test_depth_is_in_the_unit_of_the_poses_wherever_their_world_lies(seen) -> None:
    world = Sim3(40.0, cv2.Rodrigues(np.array([0.3, -1.0, 2.0]))[0], np.array([5e3, -2e3, 800.0]))
    found = depth_of_known_poses(_rgb(seen), KS, world.apply_to_cameras(POSES))
    assert found.valid.all() and found.motion == MOTION_MOVING
    assert _off(found.depth, seen, 40.0) < 0.02  # 0.2 % measured, what float16 and flow leave
    np.testing.assert_array_equal(found.intrinsics, KS.astype(np.float32))


def test_a_known_lens_is_taken_out(seen) -> None:
    rays = straighten(pixel_grid(*SIZE), planes.INTRINSICS, LENS).astype(np.float32)
    bent = [
        (cv2.remap(z, rays, None, cv2.INTER_NEAREST), xyz, cv2.remap(rgb, rays, None, cv2.INTER_CUBIC))
        for z, xyz, rgb in seen
    ]
    found = depth_of_known_poses(_rgb(bent), KS, POSES, distortion=LENS)
    blind = depth_of_known_poses(_rgb(bent), KS, POSES)
    known_off = _off(found.depth, bent)
    assert known_off < 0.01 and known_off < 0.2 * _off(blind.depth, bent)  # 0.2 % and 6.7 % measured
    assert found.intrinsics[0, 0, 0] < planes.INTRINSICS[0, 0]  # the pinhole nearest to a lens that shows more


def test_a_zoom_is_followed_frame_by_frame(seen) -> None:
    zoom = np.linspace(1, 1.25, COUNT)
    ks = KS.copy()
    ks[:, 0, 0] *= zoom
    ks[:, 1, 1] *= zoom
    zoomed = []
    for k, (z, xyz, rgb) in zip(ks, seen):
        grid = ((pixel_grid(*SIZE) - k[:2, 2]) / k[0, 0] * KS[0, 0, 0] + k[:2, 2]).astype(np.float32)
        zoomed.append((cv2.remap(z, grid, None, cv2.INTER_NEAREST), xyz, cv2.remap(rgb, grid, None, cv2.INTER_CUBIC)))
    found = depth_of_known_poses(_rgb(zoomed), ks, POSES)
    assert _off(found.depth, zoomed) < 0.03
    np.testing.assert_array_equal(found.intrinsics, ks.astype(np.float32))


def test_frames_without_a_pose_have_no_depth_and_none_given_is_none_found(seen) -> None:
    poses, ks = POSES.copy(), KS.copy()
    poses[[2, 3]] = np.nan
    ks[7] = np.nan
    found = depth_of_known_poses(_rgb(seen), ks, poses)
    without = [2, 3, 7]
    assert np.flatnonzero(~found.valid).tolist() == without and not found.depth[without].any()
    assert np.isnan(found.intrinsics[7]).all() and found.depth[4].any()
    nothing = depth_of_known_poses(_rgb(seen), KS, np.full_like(POSES, np.nan))
    assert not nothing.valid.any() and not nothing.depth.any()


def test_a_camera_that_stands_still_has_its_pose_and_no_depth(seen) -> None:
    still = np.repeat(_rgb(seen)[:1], 6, axis=0)
    found = depth_of_known_poses(still, KS[:6], np.tile(POSES[3], (6, 1, 1)))
    assert found.valid.all() and found.motion == MOTION_STILL and not found.depth.any()


def test_poses_that_contradict_the_pictures_are_refused(seen) -> None:
    turned = planes.poses(invert(POSES)[:, :3, 3], np.linspace(0, 1, COUNT)[:, None] * [0.6, 0.5, -0.8])
    with pytest.raises(StageError, match=r"contradict the pictures.*OpenCV's axes"):
        depth_of_known_poses(_rgb(seen), KS, turned)


def test_too_little_parallax_to_tell_depth_is_no_contradiction() -> None:
    """Half a degree between the rays, in a turn that moves everything by a sixth of the picture."""
    along = np.linspace(0, 1, COUNT)[:, None]
    turn, step = along * [0.02, -0.16, 0.01], along * [0.016, 0.0, 0.0]
    poses = planes.poses(step, turn)
    rgb = np.stack([planes.look(pose)[2] for pose in poses])
    found = depth_of_known_poses(rgb, KS, poses)
    assert found.valid.all() and not found.depth.any()
    for wrong in ([0.25, 0, 0], [0, 0, 0.6]):  # about the vertical, nearness would explain it
        with pytest.raises(StageError, match="contradict"):
            depth_of_known_poses(rgb, KS, planes.poses(step, turn + along * wrong))


def test_units_beyond_float16_are_refused(seen) -> None:
    tiny = POSES.copy()
    tiny[:, :3, 3] *= 1e-5
    with pytest.raises(StageError, match=r"float16.*--scale"):
        depth_of_known_poses(_rgb(seen), KS, tiny)
