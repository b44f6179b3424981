"""The lens's distortion against OpenCV's own, there and back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from geoflow.geometry.cameras import pixel_grid
from geoflow.geometry.lens_distortion import bends_back, distort, nearest_pinhole, straighten, undistort

LENSES = [(-0.1, 0.0, 0.0, 0.0, 0.0), (-0.3, 0.12, 1e-3, -2e-3, -0.02), (0.2, 0.05, -3e-3, 1e-3, 0.0)]
K = np.array([[150, 0, 79.5], [0, 155, 59.5], [0, 0, 1.0]])


@pytest.mark.parametrize("lens", LENSES)
def test_rays_are_bent_as_opencv_bends_them_and_back(lens: tuple[float, ...]) -> None:
    rays = np.random.default_rng(0).uniform(-0.5, 0.5, (200, 2))
    expected, _ = cv2.projectPoints(np.c_[rays, np.ones(200)], np.zeros(3), np.zeros(3), K, np.array(lens))
    bent = distort(rays, lens)
    np.testing.assert_allclose(bent * [150, 155] + [79.5, 59.5], expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(undistort(bent, lens), rays, atol=1e-9)
    np.testing.assert_allclose(straighten(expected[:, 0], K, lens), rays * [150, 155] + [79.5, 59.5], atol=1e-6)


def test_what_is_unknown_stays_unknown() -> None:
    assert np.isnan(undistort(np.array([[np.nan, np.nan], [0.1, 0.2]]), LENSES[0])).all(1).tolist() == [True, False]


def test_a_lens_that_folds_the_picture_is_told() -> None:
    pinhole = (150.0, 155.0, 79.5, 59.5)
    assert all(bends_back(pinhole, lens, 160, 120) for lens in LENSES)
    assert not bends_back(pinhole, (-3.0, 0, 0, 0, 0), 160, 120)
    assert not bends_back(pinhole, (-0.9, 0.2, 0, 0, 0), 320, 240)  # k1 holds near the middle only


@pytest.mark.parametrize("lens", LENSES)
def test_the_nearest_pinhole_is_nearer_than_the_matrix_itself(lens: tuple[float, ...]) -> None:
    uv = pixel_grid(120, 160).reshape(-1, 2).astype(float)
    rays = np.c_[undistort((uv - K[:2, 2]) / np.diag(K)[:2], lens), np.ones(len(uv))]

    def error(k: np.ndarray) -> float:
        return float(np.linalg.norm((rays @ k.T)[:, :2] - uv, axis=1).mean())

    assert error(nearest_pinhole(K, lens, 120, 160)) < 0.6 * error(K)
