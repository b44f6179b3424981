"""Blur and exposure of pictures whose blur and exposure are known."""

from __future__ import annotations

import cv2
import numpy as np

from geoflow.geometry.picture_measures import blur_of, brightness_of, overexposed_share


def scene(seed: int = 0) -> np.ndarray:
    """Rectangles of all sizes (240, 320) uint8."""
    rng, picture = np.random.default_rng(seed), np.full((240, 320), 90, np.uint8)
    for x, y, w, h, grey in rng.integers((0, 0, 5, 5, 30), (320, 240, 60, 60, 220), (150, 5)).tolist():
        cv2.rectangle(picture, (x, y), (x + w, y + h), grey, -1)
    return picture


def test_blur_rises_with_the_blur_of_the_picture_and_not_with_its_light_or_noise() -> None:
    sharp = scene()
    values = [blur_of(sharp), *(blur_of(cv2.GaussianBlur(sharp, (0, 0), sigma)) for sigma in (1, 2, 4, 8))]
    assert values == sorted(values) and values[0] < 0.4 and values[-1] > 0.8
    dim = (0.4 * sharp).astype(np.uint8)
    noisy = np.clip(sharp + np.random.default_rng(1).normal(0, 2, sharp.shape), 0, 255).astype(np.uint8)
    assert abs(blur_of(dim) - values[0]) < 0.05 and abs(blur_of(noisy) - values[0]) < 0.1


def test_motion_along_one_axis_is_blur() -> None:
    smeared = cv2.blur(scene(), (25, 1))
    assert blur_of(smeared) > 0.7
    assert abs(blur_of(smeared.T.copy()) - blur_of(smeared)) < 0.01


def test_blur_of_nothing_is_unknown() -> None:
    assert np.isnan(blur_of(np.full((40, 60), 7, np.uint8)))


def test_light() -> None:
    picture = np.full((10, 10), 51, np.uint8)
    picture[:2] = 102  # a fifth is brighter: the 90th percentile is there
    assert brightness_of(picture) == 0.4
    rgb = np.zeros((10, 10, 3), np.uint8)
    rgb[:3] = 255
    rgb[3:6] = (255, 255, 0)  # a colour: not all channels are at their end
    assert overexposed_share(rgb) == 0.3
