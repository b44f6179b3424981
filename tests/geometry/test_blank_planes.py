"""Planes laid over blank regions, and the support that what is not measured needs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from geoflow.geometry.cameras import pinhole
from geoflow.geometry.depth.blank_planes import _fit, lay_planes
from geoflow.geometry.depth.multiview import confirm
from geoflow.geometry.depth.posed_views import PosedView

_U = np.arange(240, dtype=np.float32)[None].repeat(180, 0)
_SLANTED = 1 / (0.2 + 0.001 * _U)  # a wall that comes nearer to the right, 5 to 2.3 m
_HOLE = np.zeros(_SLANTED.shape, bool)
_HOLE[40:140, 60:180] = True


def _blank_view() -> PosedView:
    gray = np.full(_SLANTED.shape, 128, np.uint8)
    return PosedView(np.repeat(gray[..., None], 3, -1), gray, np.eye(4))


def test_a_blank_wall_gets_the_plane_of_what_is_measured_around_it() -> None:
    noise = np.random.default_rng(0).normal(1, 0.01, _SLANTED.shape)
    measured = np.where(_HOLE, 0, _SLANTED * noise).astype(np.float32)
    laid = lay_planes(measured, _blank_view())
    assert (laid[_HOLE] > 0).all()
    assert np.abs(laid / _SLANTED - 1)[_HOLE].max() < 0.005  # 1 % of noise, averaged over hundreds of pixels
    assert np.array_equal(laid[~_HOLE], measured[~_HOLE])


def test_no_plane_is_laid_where_the_measured_depths_lie_on_none() -> None:
    wild = np.random.default_rng(0).uniform(2, 5, _SLANTED.shape).astype(np.float32)
    assert not lay_planes(np.where(_HOLE, 0, wild).astype(np.float32), _blank_view())[_HOLE].any()


def test_a_plane_ends_where_it_becomes_uncertain() -> None:
    strip = _U < 20  # measured at one side only
    noise = np.random.default_rng(0).normal(1, 0.02, _SLANTED.shape)
    laid = lay_planes(np.where(strip, _SLANTED * noise, 0).astype(np.float32), _blank_view())
    assert (laid[:, 24:26] > 0).all()
    assert not laid[:, 150:].any()


@pytest.mark.parametrize("slope", [(0, 1), (1, 0), (0.5, 0.5)])
def test_pixels_on_a_line_tell_no_plane(slope: tuple[float, float]) -> None:
    along = np.linspace(-0.5, 0.5, 400)
    rows = np.stack([np.ones(400), slope[0] * along, slope[1] * along], axis=1)
    assert _fit(rows, np.full(400, 0.5), 1) is None


def test_masked_pixels_get_no_plane() -> None:
    view = _blank_view()
    masked = PosedView(view.rgb, view.gray, view.cam_from_world, _HOLE)
    assert not lay_planes(np.where(_HOLE, 0, _SLANTED).astype(np.float32), masked)[_HOLE].any()


@pytest.mark.parametrize("other", [4.0, 0.0, 8.0], ids=["same", "unknown", "behind"])
def test_depth_that_was_not_measured_needs_another_view(other: float) -> None:
    view = _blank_view()
    own, seen = np.full(_SLANTED.shape, 4.0, np.float32), np.full(_SLANTED.shape, other, np.float32)
    measured = _U < 120
    kept = confirm(0, {0: own, 1: seen}, measured, {0: view, 1: view}, [1], pinhole(200.0, 180, 240)) > 0
    assert kept[measured].all() == (other != 8.0)
    assert kept[~measured].all() == (other == 4.0)
    assert kept[~measured].any() == (other == 4.0)


def test_a_silhouette_before_a_blank_wall_is_not_bridged() -> None:
    """A near board covers the middle of a far wall, and the wall beside it is blank."""
    gray = np.full(_SLANTED.shape, 200, np.uint8)
    board = np.zeros(gray.shape, bool)
    board[50:130, 90:150] = True
    gray[board] = 40
    view = PosedView(np.repeat(gray[..., None], 3, -1), gray, np.eye(4))
    around = cv2.dilate(board.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    depth = np.where(board, 2.0, np.where(around, 0, 6.0)).astype(np.float32)
    laid = lay_planes(depth, view)
    gap = around & ~board & (laid > 0)
    assert gap.sum() > 0.5 * (around & ~board).sum()
    assert np.abs(laid[gap] - 6).max() < 0.05
