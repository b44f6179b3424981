"""Dense depth from flow and known poses: against two planes whose depth is exact."""

from __future__ import annotations

import numpy as np
import planes
import pytest

from geoflow.geometry.cameras import resize_intrinsics
from geoflow.geometry.depth.frame_pairs import choose_keys, choose_pairs
from geoflow.geometry.depth.multiview import agrees_with, fuse, multiview_depth, triangulate
from geoflow.geometry.depth.posed_views import PosedView, carry
from geoflow.geometry.rigid import invert


def test_exact_flow_triangulates_to_exact_depth() -> None:
    a, b = planes.handheld(2)
    inverse, sigma, epipolar = triangulate(planes.exact_flow(a, b), planes.INTRINSICS, b @ invert(a))
    depth, _, _ = planes.look(a)
    assert np.abs(inverse * depth - 1).max() < 1e-3  # float32 pixels: 1e-5 px against some 20 px of parallax
    assert epipolar.max() < 1e-2
    assert (sigma > 0).all()


def test_sigma_says_what_a_pixel_of_flow_error_does() -> None:
    a, b = planes.handheld(2)
    relative, flow = b @ invert(a), planes.exact_flow(a, b)
    inverse, sigma, _ = triangulate(flow, planes.INTRINSICS, relative)
    along = planes.INTRINSICS @ relative[:3, 3]
    moved = flow + 0.1 * (along[:2] / np.linalg.norm(along[:2])).astype(np.float32)
    change = np.abs(triangulate(moved, planes.INTRINSICS, relative)[0] - inverse)
    assert np.median(change / (0.1 * sigma)) == pytest.approx(1, abs=0.1)  # the epipolar lines fan out a little


def test_what_leaves_the_epipolar_line_is_noticed() -> None:
    a, b = planes.handheld(2)
    flow = planes.exact_flow(a, b) + np.array([0, 3], np.float32)  # the camera moves mostly along x
    epipolar = triangulate(flow, planes.INTRINSICS, b @ invert(a))[2]
    assert np.median(epipolar) > 2


def test_depth_behind_the_camera_is_no_depth() -> None:
    a, b = planes.handheld(2)
    inverse, sigma, _ = triangulate(-planes.exact_flow(a, b), planes.INTRINSICS, b @ invert(a))
    assert (inverse == 0).mean() > 0.9
    assert np.isinf(sigma[inverse == 0]).all()


def test_fusion_sides_with_the_majority_and_leaves_out_contradictions() -> None:
    def estimate(*inverse: float) -> tuple[np.ndarray, np.ndarray]:
        values = np.array([inverse], np.float32)
        return values, np.where(values > 0, 0.01, np.inf).astype(np.float32)

    depth = fuse([estimate(0.5, 0.5, 0.5, 0), estimate(0.5, 0.25, 0, 0), estimate(0.25, 1.0, 0, 0)], (1, 4))
    assert depth[0, 0] == pytest.approx(2.0)  # two against one
    assert depth[0, 1] == 0  # three different stories
    assert depth[0, 2] == pytest.approx(2.0)  # one precise source, nobody else had a say
    assert depth[0, 3] == 0


def test_depth_of_two_planes_is_found_and_masked_pixels_are_not() -> None:
    cameras = planes.handheld(7)
    seen = [planes.look(pose) for pose in cameras]
    truth = np.stack([depth for depth, _, _ in seen])
    masks = np.zeros(truth.shape, bool)
    masks[3, 40:60, 40:60] = True
    valid = np.ones(7, bool)
    valid[6] = False
    rgb = np.stack([picture for _, _, picture in seen])
    points = seen[0][1][::10, ::10].reshape(-1, 3)
    depth = multiview_depth(rgb, planes.INTRINSICS, cameras, valid, points, masks=masks)
    known = depth > 0
    error = np.abs(depth - truth)[known] / truth[known]
    assert np.median(error) < 0.02  # 0.2 px of flow error at about 10 px of parallax
    assert (error < 0.1).mean() > 0.9  # the planes' edge is where the rest is
    assert known[:6].mean() > 0.7
    assert not known[masks].any()
    assert not known[6].any()


def test_a_wide_blank_part_of_a_wall_gets_the_depth_of_the_wall() -> None:
    cameras = planes.handheld(7)
    rgb, truth, blank = [], [], []
    for depth, xyz, picture in map(planes.look, cameras):
        hidden = (np.abs(xyz[..., 0] - 0.95) < 0.7) & (np.abs(xyz[..., 1]) < 1.0) & (depth > 3)
        rgb.append(np.where(hidden[..., None], 128, picture).astype(np.uint8))
        truth.append(depth)
        blank.append(hidden)
    points = planes.look(cameras[0])[1][::10, ::10].reshape(-1, 3)
    depth = multiview_depth(np.stack(rgb), planes.INTRINSICS, cameras, np.ones(7, bool), points)
    found, true = depth[np.stack(blank)], np.stack(truth)[np.stack(blank)]
    assert (found > 0).mean() > 0.85
    assert (np.abs(found / true - 1)[found > 0] < 0.05).mean() > 0.95


def test_cameras_in_one_place_make_no_pairs() -> None:
    cameras = planes.poses(np.zeros((5, 3)), np.linspace(0, 0.1, 5)[:, None] * [0, 1, 0])
    points = planes.look(cameras[0])[1][::10, ::10].reshape(-1, 3)
    assert choose_pairs(dict(enumerate(cameras)), planes.INTRINSICS, (planes.WIDTH, planes.HEIGHT), points, 4) == []


def test_resized_intrinsics_keep_the_rays() -> None:
    half = resize_intrinsics(planes.INTRINSICS, 0.5, 0.5)
    # The corner between pixels (0, 0) and (1, 1) is the centre of the small pixel (0, 0).
    assert np.allclose(np.linalg.inv(half) @ [0, 0, 1], np.linalg.inv(planes.INTRINSICS) @ [0.5, 0.5, 1])


def views_of(cameras: np.ndarray) -> tuple[list[PosedView], list[np.ndarray]]:
    looks = [planes.look(pose) for pose in cameras]
    return [PosedView(rgb, rgb[..., 0], pose) for (_, _, rgb), pose in zip(looks, cameras)], [d for d, _, _ in looks]


def test_keys_are_close_where_the_camera_is_fast() -> None:
    points = planes.look(np.eye(4))[1][::10, ::10].reshape(-1, 3)
    size = planes.WIDTH, planes.HEIGHT
    slow, fast = (
        choose_keys(dict(enumerate(planes.handheld(9, reach=reach))), planes.INTRINSICS, size, points)
        for reach in (0.1, 2.0)
    )
    assert slow == [0, 4, 8]
    assert fast == list(range(9))  # 9 px a frame on the wall, 19 on the board, of 160
    assert choose_keys({}, planes.INTRINSICS, size, points) == []


def test_carried_depth_is_that_of_the_frame_it_is_carried_to() -> None:
    (before, between, after), truth = views_of(planes.handheld(3, reach=0.1))
    depth = [d.astype(np.float32) for d in truth]
    carried = carry(between, [(before, depth[0]), (after, depth[2])], planes.INTRINSICS)
    known = carried > 0
    assert known.mean() > 0.9
    error = np.abs(carried - truth[1])[known] / truth[1][known]
    assert np.quantile(error, 0.95) < 1e-3  # but for the pixel beside the edge of the board
    assert not carry(between, [(before, 0 * depth[0])], planes.INTRINSICS).any()


def test_no_depth_is_carried_to_what_passes_in_front() -> None:
    (before, between, _), truth = views_of(planes.handheld(3, reach=0.1))
    painted = between.rgb.copy()
    painted[40:80, 100:140] = 255 - painted[40:80, 100:140] // 4
    passing = PosedView(painted, painted[..., 0], between.cam_from_world)
    carried = carry(passing, [(before, truth[0].astype(np.float32))], planes.INTRINSICS)
    assert (carried[45:75, 105:135] > 0).mean() < 0.1
    assert (carried[:, 10:90] > 0).mean() > 0.9


def test_depth_is_held_against_the_points_of_the_structure() -> None:
    (view, *_), truth = views_of(planes.handheld(2))
    points = planes.look(view.cam_from_world)[1][::10, ::10].reshape(-1, 3)
    depth = truth[0].astype(np.float32)
    assert agrees_with(depth, view, planes.INTRINSICS, points)
    assert not agrees_with(1.5 * depth, view, planes.INTRINSICS, points)
    assert agrees_with(1.5 * depth, view, planes.INTRINSICS, points[:5])  # too few to judge by
    crumbs = np.where(np.arange(depth.size).reshape(depth.shape) % 50 == 0, depth, 0)
    assert not agrees_with(crumbs, view, planes.INTRINSICS, points)
