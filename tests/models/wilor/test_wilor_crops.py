"""Squares around hands: where they lie, what is in them, and what blur and mirror do."""

from __future__ import annotations

import numpy as np
import pytest
from small_wilor import image

from geoflow.errors import ConfigError
from geoflow.models.wilor.config import CROP
from geoflow.models.wilor.crops import blurred, cut, normalised, squares_of

RGB = image()
SIZE = RGB.shape[1], RGB.shape[0]


def plain_cut(rgb: np.ndarray, centre: np.ndarray, side: float, *, right: bool) -> np.ndarray:
    """Interpolate linearly at exact positions, pixel by pixel: (3, 256, 256)."""
    source = rgb if right else rgb[:, ::-1]
    x0 = centre[0] if right else rgb.shape[1] - 1 - centre[0]
    at = [(np.arange(CROP) - CROP / 2) * side / CROP + middle for middle in (x0, centre[1])]
    padded = np.pad(source.astype(float), ((1, 1), (1, 1), (0, 0)))
    (x, fx), (y, fy) = (
        (np.clip(np.floor(p) + 1, 0, n + 1).astype(int), np.where((p > -1) & (p < n), p - np.floor(p), 0))
        for p, n in zip(at, SIZE)
    )
    fx, fy = fx[None, :, None], fy[:, None, None]
    rows = padded[y] * (1 - fy) + padded[np.minimum(y + 1, SIZE[1] + 1)] * fy
    return (rows[:, x] * (1 - fx) + rows[:, np.minimum(x + 1, SIZE[0] + 1)] * fx).transpose(2, 0, 1)


@pytest.mark.parametrize("box", [(100, 80, 160, 150), (-30, 180, 60, 300), (280.3, -20.7, 350.1, 40.2)])
@pytest.mark.parametrize("right", [True, False])
def test_a_square_is_what_a_linear_interpolation_sees(box: tuple[float, ...], right: bool) -> None:
    squares = squares_of(np.array([box]), np.array([right]), SIZE)
    wanted = plain_cut(RGB, squares.centre[0].astype(float), float(squares.side[0]), right=right)
    off = np.abs(cut(RGB, squares)[0] - wanted)
    # Positions are rounded to 1/32 px and levels to whole ones; neighbours here differ by up to 30 levels, by more
    # where the image ends.
    assert off.max() < 0.5 + 255 / 32 and off.mean() < 0.5, (off.max(), off.mean())


def test_the_side_follows_the_proportion_that_the_network_sees() -> None:
    boxes = np.array([[0, 0, 60, 100], [0, 0, 90, 100]])
    assert np.allclose(squares_of(boxes, np.ones(2), SIZE).side, [200, 240])
    assert np.allclose(squares_of(boxes, np.ones(2), SIZE, rescale=2.5).side, [250, 300])


def test_a_left_hand_is_cut_out_of_the_mirrored_image() -> None:
    box = np.array([[120.0, 90, 181, 163]])
    mirrored = box.copy()
    mirrored[:, [0, 2]] = SIZE[0] - 1 - box[:, [2, 0]]
    left = cut(RGB, squares_of(box, np.array([False]), SIZE))
    right = cut(np.ascontiguousarray(RGB[:, ::-1]), squares_of(mirrored, np.array([True]), SIZE))
    assert np.array_equal(left, right)


def test_large_squares_are_blurred_first() -> None:
    big, still = np.array([[10.0, 10, 300, 230]]), np.array([[10.0, 10, 100, 230]])
    squares = squares_of(np.concatenate((big, still)), np.ones(2), SIZE, rescale=2.4)
    assert squares.sigma[0] > 0 == squares.sigma[1], squares.side
    rng = np.random.default_rng(0).integers(0, 256, (*RGB.shape,), np.uint8)
    whole = slice(0, SIZE[1]), slice(0, SIZE[0])
    found = blurred(rng, *whole, 1.5)
    radius = 6
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / 1.5) ** 2)
    padded = np.pad(rng.astype(float), ((radius,) * 2, (radius,) * 2, (0, 0)), mode="edge")
    for axis in range(2):
        padded = np.apply_along_axis(np.convolve, axis, padded, kernel / kernel.sum(), "valid")
    assert np.abs(found - padded).max() < 1e-3
    noise = [cut(rng, squares)[k, :, 100:150, 100:150].std() for k in range(2)]
    assert noise[0] < 0.9 * noise[1]


def test_numbers_are_normalised_as_in_training() -> None:
    grey = np.full((1, 3, 2, 2), 127.5, np.float32)
    assert np.allclose(normalised(grey)[0, :, 0, 0], (0.5 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225])


@pytest.mark.parametrize("box", [(10, 10, 10, 20), (10, 20, 30, 15), (0, 0, np.nan, 5)])
def test_boxes_without_an_area_are_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="x1 < x2"):
        squares_of(np.array([box]), np.array([True]), SIZE)
    with pytest.raises(ConfigError, match=r"\(N, 4\).*found \(4, 5\)"):
        squares_of(np.ones((4, 5)), np.ones(4), SIZE)
    assert len(squares_of(np.zeros(0), np.zeros(0), SIZE).side) == 0
    with pytest.raises(ConfigError, match="1 boxes and 2 sides"):
        squares_of(np.array([[0, 0, 1, 1]]), np.ones(2), SIZE)
