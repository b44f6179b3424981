"""The way up, from the cameras."""

from __future__ import annotations

import numpy as np
import pytest

from geoflow.geometry.upright import upright_from_world


def test_a_camera_on_its_side_is_stood_upright():
    """A quarter turn of all cameras about their axis leaves what is seen, but turned: the picture's down is down."""
    turned = np.tile(np.eye(4), (3, 1, 1))
    turned[:, :2, :2] = [[0, 1], [-1, 0]]
    upright = upright_from_world(turned)
    assert np.allclose(upright @ turned[0, :3, :3].T, np.eye(3)) and np.linalg.det(upright) == pytest.approx(1)
