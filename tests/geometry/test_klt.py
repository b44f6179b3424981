"""Point tracks in the image and their lifting into the world."""

from __future__ import annotations

import numpy as np
import planes
import pytest

from actors.embedded.klt import Klt
from geoflow import fields
from geoflow.geometry.motion.lifting import CamerasWithDepth, lift_tracks, project_all
from geoflow.geometry.motion.point_tracks import corners, follow, snapped_grid, track_both_ways
from geoflow.geometry.rigid import apply, invert
from geoflow.segments import Segment, VideoInfo

COUNT = 9
QUERY = COUNT // 2


@pytest.fixture(scope="module")
def cameras() -> CamerasWithDepth:
    poses = planes.handheld(COUNT)
    depth = np.stack([planes.look(pose)[0] for pose in poses])
    return CamerasWithDepth(np.repeat(planes.INTRINSICS[None], COUNT, 0), poses, depth, np.ones(COUNT, bool))


@pytest.fixture(scope="module")
def pictures(cameras: CamerasWithDepth) -> np.ndarray:
    return np.stack([planes.look(pose)[2] for pose in cameras.cam_from_world])


def _truth(cameras: CamerasWithDepth, points: np.ndarray, query: int) -> tuple[np.ndarray, np.ndarray]:
    """World positions (N, 3) of pixels of the query frame, and where every frame sees them (T, N, 2)."""
    v, u = np.rint(points[:, 1]).astype(int), np.rint(points[:, 0]).astype(int)
    xyz = planes.look(cameras.cam_from_world[query])[1][v, u]
    return xyz, project_all(xyz, cameras)[0]


def test_corners_keep_their_distance_and_stay_out_of_the_mask(pictures: np.ndarray) -> None:
    gray = pictures[0][..., 0]
    ignore = np.zeros(gray.shape, bool)
    ignore[:, :80] = True
    taken = np.array([[120.0, 60.0]], np.float32)
    found = corners(gray, 100, 8.0, keep_off=taken, ignore=ignore)
    assert len(found) > 10
    assert (found[:, 0] > 80).all()
    assert (np.linalg.norm(found - taken, axis=1) > 7).all()  # the disc is drawn in whole pixels


def test_following_a_point_back_and_forth_rejects_what_has_gone(
    pictures: np.ndarray, cameras: CamerasWithDepth
) -> None:
    points = corners(pictures[0][..., 0], 200, 5.0)
    there, good = follow(pictures[0][..., 0], pictures[2][..., 0], points, points)
    where = _truth(cameras, points, 0)[1][2]
    assert good.mean() > 0.5
    assert np.median(np.linalg.norm(there - where, axis=1)[good]) < 0.3  # linear interpolation of the texture
    noise = np.random.default_rng(0).integers(0, 256, pictures[0][..., 0].shape).astype(np.uint8)
    assert follow(pictures[0][..., 0], noise, points, points)[1].mean() < 0.15  # some return by chance


def test_tracks_go_both_ways_and_know_when_they_are_hidden(pictures: np.ndarray, cameras: CamerasWithDepth) -> None:
    grays = list(pictures[..., 0])
    points = snapped_grid(grays[QUERY], 12)
    uv, visible = track_both_ways(grays, QUERY, points)
    where = _truth(cameras, points, QUERY)[1]
    assert visible[QUERY].all()
    assert visible[0].any() and visible[-1].any()
    assert np.median(np.linalg.norm(uv - where, axis=-1)[visible]) < 0.3
    outside = (where < 0).any(-1) | (where[..., 0] > planes.WIDTH - 1) | (where[..., 1] > planes.HEIGHT - 1)
    assert outside.any()
    assert not (visible & outside).any()


def test_rays_make_a_static_point_better_than_its_depths(cameras: CamerasWithDepth) -> None:
    points = np.mgrid[20:140:20, 20:100:20].reshape(2, -1).T.astype(np.float32)
    xyz, uv = _truth(cameras, points, QUERY)
    biased = CamerasWithDepth(cameras.intrinsics, cameras.cam_from_world, cameras.depth * 1.04, cameras.valid)
    lifted = lift_tracks(uv, np.isfinite(uv[..., 0]), biased)
    assert lifted.static.all()
    error = np.linalg.norm(lifted.xyz[QUERY] - xyz, axis=1) / planes.WALL_Z
    assert np.median(error) < 0.01  # a quarter of the bias that the depths carry
    assert (lifted.xyz == lifted.xyz[0]).all()


def test_a_moving_point_keeps_its_own_path(cameras: CamerasWithDepth) -> None:
    start = np.array([[-0.05, 0.0, planes.BOARD_Z]])
    path = start + np.linspace(0, 0.4, COUNT)[:, None, None] * [0, 1, 0]  # down the board, across the epipolar lines
    here = np.stack([apply(pose, p) for pose, p in zip(cameras.cam_from_world, path)]) @ planes.INTRINSICS.T
    uv = here[..., :2] / here[..., 2:]
    lifted = lift_tracks(uv, np.ones((COUNT, 1), bool), cameras)
    assert not lifted.static[0]
    assert np.abs(lifted.xyz - path).max() < 0.01  # nearest-pixel depth of a plane


def test_a_moving_point_without_depth_is_not_called_visible(cameras: CamerasWithDepth) -> None:
    start = np.array([[-0.05, 0.0, planes.BOARD_Z]])
    path = start + np.linspace(0, 0.4, COUNT)[:, None, None] * [0, 1, 0]
    here = np.stack([apply(pose, p) for pose, p in zip(cameras.cam_from_world, path)]) @ planes.INTRINSICS.T
    uv = here[..., :2] / here[..., 2:]
    depth, valid = cameras.depth.copy(), cameras.valid.copy()
    depth[1], valid[2] = 0, False  # no depth in one frame, no pose in another
    blind = CamerasWithDepth(cameras.intrinsics, cameras.cam_from_world, depth, valid)
    lifted = lift_tracks(uv, np.ones((COUNT, 1), bool), blind)
    assert not lifted.static[0] and lifted.visible[:, 0].tolist() == [True, False, False] + [True] * (COUNT - 3)
    assert np.array_equal(lifted.visible, np.isfinite(lifted.xyz).all(-1))
    assert np.allclose(lifted.uv, uv), "where it was followed stays known"


def test_a_static_point_behind_a_surface_is_hidden(cameras: CamerasWithDepth) -> None:
    uv = _truth(cameras, np.array([[120.0, 60.0]], np.float32), QUERY)[1]
    depth = cameras.depth.copy()
    depth[0] = 1.0  # something stands in front of everything in the first frame
    lifted = lift_tracks(
        uv,
        np.ones((COUNT, 1), bool),
        CamerasWithDepth(cameras.intrinsics, cameras.cam_from_world, depth, cameras.valid),
    )
    assert lifted.static[0]
    assert lifted.visible[:, 0].tolist() == [False] + [True] * (COUNT - 1)


def _run(rgb: np.ndarray, cameras: CamerasWithDepth, valid: np.ndarray, start: int = 0) -> dict[str, np.ndarray]:
    height, width = rgb.shape[1:3]
    video = VideoInfo("v", "v.mp4", "", start + len(rgb), 30.0, height, width, height, width)
    stage = Klt(Klt.Params(grid_size=10))
    found = stage.process(
        Segment(video, 0, start, start + len(rgb)),
        {
            "frames.rgb": rgb,
            "frames.index": np.arange(start, start + len(rgb)),
            "camera.intrinsics": cameras.intrinsics.astype(np.float32),
            "camera.cam_from_world": cameras.cam_from_world.astype(np.float32),
            "camera.depth": cameras.depth.astype(np.float16),
            "camera.valid": valid,
        },
    )
    fields.check(found, stage.outputs, who="klt", num_frames=len(rgb))
    return found


def test_the_stage_lifts_static_points_to_where_they_are(pictures: np.ndarray, cameras: CamerasWithDepth) -> None:
    found = _run(pictures, cameras, cameras.valid, start=100)
    query = found["tracks.query"]
    assert (query[:, 0] == 100 + QUERY).all()
    uv = found["tracks.uv"][QUERY]
    truth = apply(invert(cameras.cam_from_world[QUERY]), _lift_exactly(uv, cameras))
    assert np.median(np.linalg.norm(query[:, 1:] - truth, axis=1)) < 0.02 * planes.BOARD_Z  # the 2% asked of tracks


def _lift_exactly(uv: np.ndarray, cameras: CamerasWithDepth) -> np.ndarray:
    z = cameras.depth[QUERY][np.rint(uv[:, 1]).astype(int), np.rint(uv[:, 0]).astype(int)]
    return np.concatenate([uv, np.ones((len(uv), 1))], 1) @ np.linalg.inv(planes.INTRINSICS).T * z[:, None]


def test_the_stage_gives_no_tracks_without_poses(pictures: np.ndarray, cameras: CamerasWithDepth) -> None:
    found = _run(pictures, cameras, np.zeros(COUNT, bool))
    assert found["tracks.xyz"].shape == (COUNT, 0, 3)
    assert found["tracks.query"].shape == (0, 4)


def test_the_stage_gives_no_tracks_without_depth(pictures: np.ndarray, cameras: CamerasWithDepth) -> None:
    blind = CamerasWithDepth(cameras.intrinsics, cameras.cam_from_world, np.zeros_like(cameras.depth), cameras.valid)
    assert _run(pictures, blind, cameras.valid)["tracks.visible"].shape == (COUNT, 0)
