"""Sizes of shrunk pictures: usual ones by their longer side, strips so that the shorter side keeps its pixels."""

from __future__ import annotations

import numpy as np
import pytest

from geoflow.fields import VIEW_BARE
from geoflow.geometry.picture_size import shrunk_size
from geoflow.geometry.views import classify_views
from geoflow.geometry.working_size import WorkingSize
from geoflow.video.options import ReadOptions, processed_size


@pytest.mark.parametrize(
    "size", [(480, 640), (1080, 1920), (1920, 1080), (800, 1920), (1000, 1000), (240, 320), (720, 1900)]
)
def test_usual_pictures_are_bounded_by_their_longer_side(size: tuple[int, int]) -> None:
    height, width = shrunk_size(*size, 640)
    assert max(height, width) == min(640, max(size))
    assert height / width == pytest.approx(size[0] / size[1], rel=0.5 / min(height, width))


@pytest.mark.parametrize("size", [(96, 1280), (1080, 3840), (200, 5000), (2, 3000), (600, 2000)])
def test_strips_keep_their_shorter_side_up_to_the_pixels_of_a_usual_picture(size: tuple[int, int]) -> None:
    for turned in (size, size[::-1]):
        found = shrunk_size(*turned, 640)
        assert max(found) > min(640, max(size)) - 1 and min(found) <= min(240, min(size))
        assert found[0] * found[1] <= 640 * 480 * 1.02  # rounding
        kept_all, at_floor = min(found) == min(size), min(found) == 240
        assert kept_all or at_floor or found[0] * found[1] > 640 * 480 * 0.98
        assert processed_size(*turned, ReadOptions(long_side=640)) == found
        assert WorkingSize.at_most(*turned, 640).small == found


@pytest.mark.parametrize("size", [(96, 1280), (1280, 96)])
def test_a_textured_strip_is_not_bare(size: tuple[int, int]) -> None:
    """Scaled to 160 px on its longer side, it would have 12 px on the shorter one: no room for corners."""
    cells = np.random.default_rng(0).integers(0, 255, (size[0] // 24, size[1] // 24), np.uint8)
    picture = np.repeat(np.kron(cells, np.ones((24, 24), np.uint8))[..., None], 3, -1)
    assert classify_views([picture])[0] != VIEW_BARE
