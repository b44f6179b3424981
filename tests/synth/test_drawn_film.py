"""Drawn films: the tracker follows their texture to where the truth says, and depth is that of the scene."""

from __future__ import annotations

import numpy as np
import pytest

from geoflow.geometry.cameras import pixel_rays
from geoflow.geometry.rigid import apply, invert
from geoflow.synth.films.drawn_film import drawn_film


@pytest.mark.long
def test_the_tracker_follows_a_drawn_film_and_depth_agrees_between_its_pictures() -> None:
    drawn = drawn_film("few", 3)
    made, truth = drawn.film, drawn.film.truth
    seen = np.isfinite(made.chains.uv[..., 0])
    assert len(drawn.grays) == made.setup.frames and drawn.grays[0].shape == drawn.depth[0].shape == (240, 320)
    assert truth.sound.sum() > 500 and truth.sound.sum() / seen.sum() > 0.8
    off = [
        np.linalg.norm(made.chains.uv[t] - made.lens.project(apply(pose, truth.xyz)), axis=1)[truth.sound[t]]
        for t, pose in enumerate(truth.cam_from_world)
    ]
    assert np.median(np.concatenate(off)) < 0.3
    pixels = np.array([[40, 60], [160, 120], [280, 200]])
    rays = pixel_rays(pixels[None].astype(np.float32), truth.intrinsics)[0]
    world = apply(invert(truth.cam_from_world[2]), rays * drawn.depth[2][pixels[:, 1], pixels[:, 0], None])
    center = invert(truth.cam_from_world[2])[:3, 3]
    reach, _ = made.panels.cast(center, world - center)
    assert np.allclose(reach, 1, atol=1e-4)
