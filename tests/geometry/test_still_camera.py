"""A camera at rest keeps its points; what moves with a camera must not pass for the scene."""

from __future__ import annotations

import numpy as np
import pytest

from geoflow.fields import MOTION_STILL
from geoflow.geometry.motion.camera_motion import Chains, classify_motion

FRAMES = 12


def chains(passing: int) -> Chains:
    """60 points that stay in their places, and `passing` new ones in every frame, which are seen once more."""
    rng = np.random.default_rng(0)
    staying = np.repeat(rng.uniform([5, 5], [315, 235], (1, 60, 2)), FRAMES, axis=0)
    uv = np.full((FRAMES, 60 + passing * FRAMES, 2), np.nan, np.float32)
    uv[:, :60] = staying + rng.normal(0, 0.1, staying.shape)
    for t in range(FRAMES - 1):
        columns = slice(60 + t * passing, 60 + (t + 1) * passing)
        uv[t, columns] = rng.uniform([5, 5], [250, 235], (passing, 2))
        uv[t + 1, columns] = uv[t, columns] + [60, 0]
    return Chains(uv, [0, FRAMES // 2, FRAMES - 1], 240, 320)


@pytest.mark.parametrize(("passing", "still"), [(0, True), (10, True), (200, False)])
def test_what_stays_in_its_place_is_the_scene_only_if_hardly_anything_else_passes(passing: int, still: bool) -> None:
    assert (classify_motion(chains(passing)).code == MOTION_STILL) == still
