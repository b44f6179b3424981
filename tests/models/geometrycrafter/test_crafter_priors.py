"""Priors with holes, nonsense at invalid pixels, odd sizes, and nothing valid at all."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from geoflow.errors import InputError  # noqa: E402
from geoflow.geometry.cameras import pinhole, unproject  # noqa: E402
from geoflow.models.geometrycrafter.field_of_view import make_intrinsics, make_points  # noqa: E402
from geoflow.models.geometrycrafter.priors import PriorMaps, PriorSurvey, disparity_ranks, prior_maps  # noqa: E402


def plane(height: int, width: int, focal: float = 40.0) -> tuple[np.ndarray, np.ndarray]:
    """Points (2, H, W, 3) of a slanted plane and a mask with a hole."""
    depth = np.broadcast_to(2 + np.linspace(0, 3, height)[:, None], (2, height, width))
    mask = np.ones((2, height, width), bool)
    mask[:, :4, 3:9] = False
    return unproject(depth, pinhole(focal, height, width)), mask


def map_prior(points: np.ndarray, mask: np.ndarray) -> PriorMaps:
    given = torch.from_numpy(points), torch.from_numpy(mask)
    survey = PriorSurvey()
    survey.add(*given)
    return prior_maps(*given, survey.finish())


@pytest.mark.parametrize("size", [(24, 32), (25, 32), (24, 33), (25, 33)])
def test_a_pinhole_camera_is_found_at_even_and_odd_sizes(size: tuple[int, int]) -> None:
    height, width = size
    _, _, tan_x, tan_y = map_prior(*plane(height, width)).intrinsics.T
    # x / z + 1e-7 and float32 at the pixels next to the middle, where the grid is about 1 / width.
    assert tan_x.numpy() == pytest.approx((width - 1) / 80, rel=1e-5)
    assert tan_y.numpy() == pytest.approx((height - 1) / 80, rel=1e-5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 0.0, -3.0])
def test_nonsense_at_invalid_pixels_changes_nothing(wrong: float) -> None:
    points, mask = plane(24, 32)
    clean = map_prior(points, mask)
    points = np.where(mask[..., None], points, np.float32(wrong))
    spoilt = map_prior(points, mask)
    assert torch.equal(spoilt.disparity, clean.disparity)
    assert torch.equal(spoilt.log_depth, clean.log_depth)
    assert spoilt.intrinsics[:, 2:].numpy() == pytest.approx(clean.intrinsics[:, 2:].numpy(), rel=1e-5)


def test_other_values_at_invalid_pixels_count() -> None:
    points, mask = plane(24, 32)
    moved = points.copy()
    moved[0, 0, 4, 0] += 5
    assert map_prior(moved, mask).intrinsics[0, 2] != map_prior(points, mask).intrinsics[0, 2]


@pytest.mark.parametrize("fill", [1.0, np.nan])
def test_nothing_valid_is_far_away_and_of_a_usual_view(fill: float) -> None:
    points, mask = plane(24, 32)
    maps = map_prior(points * np.float32(fill), np.zeros_like(mask))
    assert (maps.disparity == -1).all() and (maps.mask == -1).all() and (maps.log_depth == 0).all()
    expected = 31 / 80 if np.isfinite(fill) else 31 / (2 * 0.8 * 32)  # the frame's own camera, else a usual one
    assert maps.intrinsics[:, 2].numpy() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 0.0, -1.0])
def test_nonsense_at_a_valid_pixel_is_refused(wrong: float) -> None:
    points, mask = plane(24, 32)
    points = points.copy()
    points[1, 20, 20, 2] = wrong
    with pytest.raises(InputError, match="frame 1 has 1 valid pixels"):
        map_prior(points, mask)


def test_the_scale_of_the_prior_does_not_matter() -> None:
    points, mask = plane(24, 32)
    maps, larger = map_prior(points, mask), map_prior(points * np.float32(37), mask)
    for name in ("disparity", "log_depth"):
        # z + 1e-7 and float32
        assert getattr(larger, name).numpy() == pytest.approx(getattr(maps, name).numpy(), abs=2e-6)


def test_quantiles_equal_those_of_sorted_disparities() -> None:
    points, mask = plane(24, 32)
    rng = np.random.default_rng(3)
    points = points * rng.uniform(0.2, 3, (2, 24, 32, 1)).astype(np.float32)
    survey = PriorSurvey()
    for i in (0, 1):
        survey.add(torch.from_numpy(points[i : i + 1]), torch.from_numpy(mask[i : i + 1]))
    found = survey.finish()
    disparity = np.where(mask, 1 / np.maximum(points[..., 2] / np.float32(found.scale), 1e-3), 0).reshape(2, -1)
    low, high = np.sort(disparity, axis=1)[:, disparity_ranks(24 * 32)].T
    assert (found.low, found.high) == (low.min(), high.max())


def test_points_lie_on_the_rays_of_their_intrinsics() -> None:
    depth = np.random.default_rng(0).uniform(1, 5, (2, 21, 30)).astype(np.float32)
    for diagonal in (0.6, np.array([0.5, 0.8])):
        intrinsics = make_intrinsics(diagonal, 21, 30)
        assert make_points(depth, diagonal) == pytest.approx(unproject(depth, intrinsics), abs=1e-5)
