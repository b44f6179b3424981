"""Dense depth from flow and known poses: against two planes whose depth is exact."""

from __future__ import annotations

import numpy as np
import planes
import pytest

from geoflow.geometry.cameras import resize_intrinsics
from geoflow.geometry.multiview import choose_pairs, fuse, multiview_depth, triangulate
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


def test_cameras_in_one_place_make_no_pairs() -> None:
    cameras = planes.poses(np.zeros((5, 3)), np.linspace(0, 0.1, 5)[:, None] * [0, 1, 0])
    points = planes.look(cameras[0])[1][::10, ::10].reshape(-1, 3)
    assert choose_pairs(dict(enumerate(cameras)), planes.INTRINSICS, (planes.WIDTH, planes.HEIGHT), points, 4) == []


def test_resized_intrinsics_keep_the_rays() -> None:
    half = resize_intrinsics(planes.INTRINSICS, 0.5, 0.5)
    # The corner between pixels (0, 0) and (1, 1) is the centre of the small pixel (0, 0).
    assert np.allclose(np.linalg.inv(half) @ [0, 0, 1], np.linalg.inv(planes.INTRINSICS) @ [0.5, 0.5, 1])
