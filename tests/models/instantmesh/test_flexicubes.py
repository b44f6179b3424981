"""FlexiCubes: the surface's topology, its sides, and the cases that are made without a table."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from geoflow.models.instantmesh.cube_cases import EDGES, ambiguous_step, cube_cases, groups_of  # noqa: E402
from geoflow.models.instantmesh.flexicubes import extract  # noqa: E402
from geoflow.models.instantmesh.grid import Grid  # noqa: E402

GRID = Grid(20, 2.0)


def mesh_of(distance: torch.Tensor, seed: int | None = None, grid: Grid = GRID) -> tuple[np.ndarray, np.ndarray]:
    """The mesh of signed distances, with random weights and deformation where a seed is given."""
    cubes = grid.crossed(distance)
    generator = torch.Generator().manual_seed(seed or 0)
    weights = torch.randn(grid.num_cubes, 21, generator=generator) * (seed is not None)
    raw = torch.randn(grid.num_points, 3, generator=generator) * (seed is not None)
    corners = grid.moved(torch.arange(grid.num_points), raw)[grid.corners(cubes)]
    vertices, faces = extract(grid, distance, cubes, corners, weights[cubes])
    return vertices.numpy(), faces.numpy()


def sphere(radius: float = 0.713) -> torch.Tensor:
    return GRID.points().norm(dim=1) - radius


def edges_of(faces: np.ndarray) -> Counter[tuple[int, int]]:
    """How often each directed edge is there."""
    return Counter((int(a), int(b)) for face in faces for a, b in pairwise([*face, face[0]]))


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Signed, positive if faces are counter-clockwise seen from outside."""
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return float(np.einsum("ij,ij->i", np.cross(a, b), c).sum() / 6)


def test_a_sphere_is_closed_and_faces_outward() -> None:
    vertices, faces = mesh_of(sphere())
    edges = edges_of(faces)
    assert set(edges.values()) == {1} and all((b, a) in edges for a, b in edges), "each edge once in each direction"
    assert len(vertices) - len(edges) // 2 + len(faces) == 2, "Euler: one closed surface without handles"
    # Dual vertices lie within a cube's diagonal of the surface, mostly inside of it: flat faces cut the volume.
    assert np.abs(np.linalg.norm(vertices, axis=1) - 0.713).max() < 0.02
    assert volume(vertices, faces) == pytest.approx(4 / 3 * np.pi * 0.713**3, rel=0.03)


@pytest.mark.parametrize("seed", [1, 2])
def test_weights_move_vertices_and_keep_the_topology(seed: int) -> None:
    plain, moved = mesh_of(sphere()), mesh_of(sphere(), seed)
    assert len(plain[0]) == len(moved[0]) and edges_of(moved[1]).total() == edges_of(plain[1]).total()
    assert not np.allclose(plain[0], moved[0], atol=1e-3)
    assert volume(*moved) == pytest.approx(volume(*plain), rel=0.03)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_field_has_a_mesh_whose_edges_have_two_faces_at_most(seed: int) -> None:
    """Noise has all cases, and pairs of ambiguous neighbours; settling those keeps the surface a manifold."""
    noise = torch.randn(GRID.num_points, generator=torch.Generator().manual_seed(seed))
    found = edges_of(mesh_of(noise)[1])
    assert max(found.values()) == 1
    sides = [found[edge] + found[edge[::-1]] for edge in found]
    assert max(sides) == 2 and min(sides) == 1, "open at the grid's border alone"


def test_without_settling_ambiguous_cases_noise_has_edges_of_four_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above shows something."""
    from geoflow.models.instantmesh import flexicubes

    monkeypatch.setattr(flexicubes, "_settled", lambda grid, cubes, case: case)
    noise = torch.randn(GRID.num_points, generator=torch.Generator().manual_seed(0))
    assert max(edges_of(mesh_of(noise)[1]).values()) > 1


def test_a_surface_that_leaves_the_grid_is_open_there() -> None:
    vertices, faces = mesh_of(GRID.points()[:, 2] - 0.013)
    found = edges_of(faces)
    rim = {vertex for a, b in found if (b, a) not in found for vertex in (a, b)}
    assert rim and np.abs(vertices[sorted(rim), :2]).max(1).min() > 0.9


def test_no_surface_is_an_empty_mesh() -> None:
    for distance in (torch.ones(GRID.num_points), -torch.ones(GRID.num_points)):
        vertices, faces = mesh_of(distance)
        assert vertices.shape == (0, 3) and faces.shape == (0, 3)


def test_cases_are_what_geometry_says() -> None:
    cases = cube_cases()
    crossed = (cases.groups >= 0).sum(1)
    assert cases.counts[0] == 0 and cases.counts[255] == 0 and int(cases.counts.max()) == 4
    for case in range(256):
        assert crossed[case] == crossed[255 - case]
        assert sorted(set(groups_of(case)) - {-1}) == list(range(cases.counts[case]))
        if crossed[case]:
            sizes = Counter(groups_of(case))
            assert min(count for group, count in sizes.items() if group >= 0) >= 3, "a piece has three edges at least"
    flagged = [case for case in range(256) if any(ambiguous_step(case))]
    assert len(flagged) == 36  # as many as in FlexiCubes' own table
    opposite = 0b10000001  # two corners at the ends of a diagonal: two pieces
    assert cases.counts[opposite] == 2 and crossed[opposite] == 6


def test_edges_run_one_way_along_each_axis() -> None:
    for a, b in EDGES:
        step = [(b >> axis & 1) - (a >> axis & 1) for axis in range(3)]
        assert step in ([1, 0, 0], [0, -1, 0], [0, 0, 1])


def test_numbers_of_cubes_and_points_fit() -> None:
    grid = Grid(4, 2.0)
    points = grid.points()
    assert points[:2].tolist() == [[-1, -1, -1], [-1, -1, -0.5]], "z is the fastest"
    corners = points[grid.corners(torch.arange(grid.num_cubes))]
    steps = corners - corners[:, :1]
    for c in range(8):
        assert torch.allclose(steps[:, c], torch.tensor([c & 1, c >> 1 & 1, c >> 2 & 1]) * 0.5)
    cubes = torch.tensor([0, 0, 63])
    step = torch.tensor([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    assert grid.neighbours(cubes, step).tolist() == [1, -1, 59]
