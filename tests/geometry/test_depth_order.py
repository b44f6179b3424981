"""The order of depth: a reversed map is told from a right one, whatever their scales, holes and noise."""

from __future__ import annotations

import numpy as np
import plane_scene
import pytest

from geoflow.geometry.depth.depth_order import LEAST_PIXELS, order_agreement


@pytest.fixture(scope="module")
def depth() -> np.ndarray:
    return plane_scene.render(plane_scene.walk(1)).depth[0]


def test_only_the_order_counts(depth: np.ndarray) -> None:
    assert order_agreement(depth, 5 * depth**3) == pytest.approx(1)
    assert order_agreement(depth, 20 - depth) == pytest.approx(-1)
    # Rounding to float16 makes ties; they take their mean rank and change nothing that matters.
    assert order_agreement(depth.astype(np.float16), depth) > 0.9999


def test_noise_weakens_the_agreement_and_keeps_its_sign(depth: np.ndarray) -> None:
    noise = np.exp(np.random.default_rng(0).normal(0, 0.3, depth.shape))
    # Depth spreads by a factor of two to three, so noise of 30 % changes places of many pixels.
    assert 0.4 < order_agreement(depth * noise, depth) < 0.95
    assert -0.95 < order_agreement(noise / depth, depth) < -0.4


def test_unknown_pixels_and_those_outside_the_mask_do_not_count(depth: np.ndarray) -> None:
    spoilt, mask = depth.copy(), np.ones(depth.shape, bool)
    spoilt[:40], mask[:40] = 20 - depth[:40], False
    spoilt[40:60], spoilt[60:70] = 0, np.nan
    assert order_agreement(spoilt, depth, mask) == pytest.approx(1)
    assert order_agreement(spoilt, depth) < 0.99


def test_too_little_in_common_or_a_flat_map_gives_no_answer(depth: np.ndarray) -> None:
    few = np.zeros(depth.shape)
    few.ravel()[: LEAST_PIXELS - 1] = np.arange(LEAST_PIXELS - 1) + 1
    assert np.isnan(order_agreement(few, depth))
    assert np.isnan(order_agreement(np.zeros(depth.shape), depth))
    assert np.isnan(order_agreement(np.full(depth.shape, 2.0), depth))
