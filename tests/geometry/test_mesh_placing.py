"""A mesh of another size, turned from its start, comes to lie where a depth map shows its front."""

from __future__ import annotations

import numpy as np
import pytest
from lumpy_body import lumpy, seen_points
from scipy.spatial.transform import Rotation

from geoflow.geometry.mesh_placing import place_mesh
from geoflow.geometry.rigid import Sim3


def off_by(found: Sim3, wanted: Sim3, vertices: np.ndarray) -> tuple[float, float, float]:
    """Rotation in degrees, relative scale, and the mean distance of vertices as a share of the body's size."""
    turn = np.degrees(Rotation.from_matrix(found.rotation @ wanted.rotation.T).magnitude())
    places = [pose.apply(vertices) for pose in (found, wanted)]
    size = np.linalg.norm(np.ptp(places[1], axis=0))
    distance = np.linalg.norm(places[0] - places[1], axis=1).mean() / size
    return float(turn), abs(found.scale / wanted.scale - 1), float(distance)


def trial(seed: int, start_off: float) -> tuple[float, float, float, float]:
    """A body, half hidden by itself, with 0.5 % of depth noise; the start is turned by so many degrees."""
    rng = np.random.default_rng(seed)
    vertices, faces = lumpy(seed)
    truth = Sim3(0.37, Rotation.random(random_state=seed).as_matrix(), np.array([0.2, -0.1, 3.0]))
    seen = seen_points(vertices, faces, truth, 0.005, rng)
    axis = rng.normal(size=3)
    start = Rotation.from_rotvec(np.radians(start_off) * axis / np.linalg.norm(axis)).as_matrix() @ truth.rotation
    found = place_mesh(seen, vertices, faces, [start])
    assert found is not None
    return *off_by(found.cam_from_mesh, truth, vertices), found.residual


@pytest.mark.parametrize("seed", range(4))
def test_a_start_within_30_degrees_finds_the_place(seed: int) -> None:
    """Measured on ten bodies: at most 2.7 degrees, 1.3 % of the scale, 1.2 % of the size, residual 0.028."""
    turn, scale, distance, residual = trial(seed, 30)
    assert turn < 4 and scale < 0.03 and distance < 0.02 and residual < 0.035


def test_a_wrong_place_has_a_larger_residual() -> None:
    """Of starts that were 60 or 120 degrees off, the wrong ends had 0.05 to 0.18."""
    turn, _, _, residual = trial(1, 120)
    assert turn > 20 and residual > 0.045


def test_the_best_of_several_starts_wins() -> None:
    vertices, faces = lumpy(3)
    truth = Sim3(2.0, Rotation.random(random_state=3).as_matrix(), np.array([0.0, 0.3, 12.0]))
    seen = seen_points(vertices, faces, truth, 0.002, np.random.default_rng(3))
    turns = [Rotation.from_euler("x", angle, degrees=True).as_matrix() for angle in (170, 95, 20)]
    found = place_mesh(seen, vertices, faces, [turn @ truth.rotation for turn in turns])
    assert found is not None and off_by(found.cam_from_mesh, truth, vertices)[0] < 1.5


def test_outliers_and_gaps_do_little() -> None:
    """A tenth of the points is of the background, as at bleeding edges, and some are not numbers."""
    vertices, faces = lumpy(2)
    truth = Sim3(0.37, np.eye(3), np.array([0.1, 0.0, 3.0]))
    rng = np.random.default_rng(2)
    seen = seen_points(vertices, faces, truth, 0.005, rng)
    wrong = rng.choice(len(seen), len(seen) // 10, replace=False)
    seen[wrong] *= rng.uniform(1.05, 1.3, (len(wrong), 1))
    seen[::50] = np.nan
    found = place_mesh(seen, vertices, faces, [Rotation.from_euler("y", 25, degrees=True).as_matrix()])
    assert found is not None
    turn, scale, distance = off_by(found.cam_from_mesh, truth, vertices)
    assert turn < 3 and scale < 0.05 and distance < 0.02


def test_too_little_tells_nothing() -> None:
    vertices, faces = lumpy(0, 200)
    few = np.random.default_rng(0).normal(size=(20, 3)) + [0, 0, 5]
    assert place_mesh(few, vertices, faces, [np.eye(3)]) is None
    assert place_mesh(np.full((500, 3), 2.0), vertices, faces, [np.eye(3)]) is None, "all in one place"
    flat = np.zeros((3, 3))
    assert place_mesh(few.repeat(10, 0), flat, np.array([[0, 1, 2]]), [np.eye(3)]) is None, "a mesh without area"
