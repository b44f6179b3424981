"""Points are followed through jumps of the exposure, fades and flashes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import plane_scene
import pytest

from geoflow.geometry.exposure import evened
from geoflow.geometry.motion.camera_motion import chain_points
from geoflow.geometry.motion.point_tracks import corners, follow, track_both_ways

COUNT, JUMP = 12, 6


def exposed(how: Callable[[int], tuple[float, float]]) -> list[np.ndarray]:
    """Return grey pictures of a walk, frame t with gain and offset how(t)."""
    grays = plane_scene.render(plane_scene.walk(COUNT)).grays
    return [
        np.clip(how(t)[0] * gray.astype(float) + how(t)[1], 0, 255).astype(np.uint8) for t, gray in enumerate(grays)
    ]


@pytest.mark.parametrize(
    "how",
    [
        lambda t: (1.0, 0.0) if t < JUMP else (0.45, 10.0),
        lambda t: (0.5, 10.0) if t < JUMP else (1.0, 0.0),
        lambda t: (0.6, 90.0) if t == JUMP else (1.0, 0.0),
        lambda t: (1 - 0.06 * t, 0.0),
    ],
    ids=["darker", "brighter", "flash", "fade"],
)
def test_points_survive_a_change_of_exposure(how: Callable[[int], tuple[float, float]]) -> None:
    steady, changing = exposed(lambda t: (1.0, 0.0)), exposed(how)
    kept = [len(chain_points(grays).shared(JUMP - 1, JUMP)) for grays in (steady, changing)]
    assert kept[1] > 0.8 * kept[0] > 50
    points = corners(steady[0], 60, 8)
    (exact, seen), (uv, visible) = (track_both_ways(grays, 0, points) for grays in (steady, changing))
    assert visible.sum() > 0.8 * seen.sum()
    both = seen & visible
    assert np.median(np.linalg.norm(uv[both] - exact[both], axis=1)) < 0.1  # px; coarser grey levels cost some


def test_gain_and_offset_are_found_and_equal_pictures_are_left_alone() -> None:
    first, dark = exposed(lambda t: (1.0, 0.0))[0], exposed(lambda t: (0.4, 20.0))[0]
    points = corners(first, 60, 8)
    assert evened(first, first, points, points) is None
    even = evened(first, dark, points, points)
    assert even is not None and even[1] is dark
    assert np.abs(even[0].astype(int) - dark).mean() < 3
    assert follow(first, dark, points, points)[1].mean() > 0.9
