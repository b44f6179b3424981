"""From views to a mesh: only the cubes at the surface are looked at, an empty field is said, memory is bounded."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from small_object_models import RECONSTRUCTOR, random_views, small_network  # noqa: E402

from geoflow.errors import InputError  # noqa: E402
from geoflow.models.instantmesh import EmptyField, Reconstructor, split_views, view_cameras  # noqa: E402
from geoflow.models.instantmesh.field import Field  # noqa: E402
from geoflow.models.instantmesh.flexicubes import extract  # noqa: E402


def test_a_mesh_has_faces_and_colours() -> None:
    mesh = Reconstructor(small_network()).mesh(random_views(), view_cameras())
    assert mesh.vertices.dtype == np.float32 and mesh.faces.dtype == np.int32 and mesh.colours.dtype == np.uint8
    assert len(mesh.vertices) == len(mesh.colours) and mesh.faces.shape[1] == 3 and len(mesh.faces) > 100
    assert mesh.faces.min() >= 0 and mesh.faces.max() < len(mesh.vertices)
    assert np.abs(mesh.vertices).max() < 1.05 + 0.25 / RECONSTRUCTOR.grid_res, "the box, and how far its points move"
    assert len(np.unique(mesh.colours)) > 5


def test_cubes_at_the_surface_have_the_mesh_of_all_cubes_bit_for_bit() -> None:
    """As the original does it: deformation and weights of the whole grid, and then the mesh."""
    reconstructor = Reconstructor(small_network())
    grid = reconstructor.grid
    field = reconstructor.field(random_views(), view_cameras())
    distance = field.distances(grid)
    everywhere = field.weights(grid, torch.arange(grid.num_cubes))
    moved = grid.moved(torch.arange(grid.num_points), field.deformation(grid.points()))
    cubes = grid.crossed(distance)
    assert 0 < len(cubes) < grid.num_cubes / 2
    wanted = extract(grid, distance, cubes, moved[grid.corners(cubes)], everywhere[cubes])
    found = reconstructor.surface(field, distance)
    assert all(torch.equal(*pair) for pair in zip(found, wanted))


def test_chunks_change_nothing_but_rounding() -> None:
    reconstructor = Reconstructor(small_network())
    planes = reconstructor.network(random_views(), torch.from_numpy(view_cameras()))
    whole, parts = (Field(reconstructor.network.heads, planes, chunk) for chunk in (1 << 20, 57))
    grid = reconstructor.grid
    assert torch.allclose(whole.distances(grid), parts.distances(grid), atol=1e-6)
    cubes = torch.arange(grid.num_cubes)
    assert torch.allclose(whole.weights(grid, cubes), parts.weights(grid, cubes), atol=1e-6)


@pytest.mark.parametrize("bias", [50.0, -50.0])
def test_an_empty_field_is_said_and_no_box(bias: float) -> None:
    reconstructor = Reconstructor(small_network(bias))
    with pytest.raises(EmptyField, match="no surface"):
        reconstructor.mesh(random_views(), view_cameras())
    forced = reconstructor.mesh(random_views(), view_cameras(), force=True)
    assert len(forced.faces) > 0, "the box of the original"


@pytest.mark.parametrize(
    ("views", "cameras", "said"),
    [
        (torch.zeros(6, 32, 32, 3), view_cameras(), r"\(V, 3, H, W\)"),
        (torch.zeros(6, 3, 30, 32), view_cameras(), "whole 16 px"),
        (torch.zeros(4, 3, 32, 32), view_cameras(), r"cameras should be \(4, 16\).*found \(6, 16\)"),
    ],
)
def test_views_and_cameras_have_to_fit(views: Any, cameras: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Reconstructor(small_network()).mesh(views, cameras)


def test_four_views_and_a_coarser_grid_go() -> None:
    few = [0, 2, 4, 5]
    coarse = Reconstructor(small_network(), grid_res=6)
    mesh = coarse.mesh(random_views()[few], view_cameras()[few])
    fine = Reconstructor(small_network()).mesh(random_views()[few], view_cameras()[few])
    assert 0 < len(mesh.faces) < len(fine.faces) / 2 and np.abs(mesh.vertices).max() < 1.1


def test_half_precision_stays_near_full() -> None:
    whole = Reconstructor(small_network()).field(random_views(), view_cameras())
    half = Reconstructor(small_network(), dtype=torch.bfloat16)
    found = half.field(random_views(), view_cameras()).distances(half.grid)
    wanted = whole.distances(half.grid)
    assert found.dtype == torch.float32
    assert (found - wanted).abs().max() < 0.05 * wanted.abs().max()  # bfloat16 has 8 bits: 0.4 % a number


def test_a_picture_of_views_is_taken_apart_row_by_row() -> None:
    picture = np.zeros((6, 4, 3), np.uint8)
    for k in range(6):
        picture[k // 2 * 2 : k // 2 * 2 + 2, k % 2 * 2 : k % 2 * 2 + 2] = 40 * k
    views = split_views(picture, size=2)
    assert views.shape == (6, 3, 2, 2)
    assert torch.allclose(views, torch.arange(6).view(6, 1, 1, 1) * 40 / 255 * torch.ones(6, 3, 2, 2))
    with pytest.raises(InputError, match=r"\(3 H, 2 W, 3\) uint8"):
        split_views(picture[:5])


def test_views_are_enlarged_without_overshoot() -> None:
    picture = np.zeros((24, 16, 3), np.uint8)
    picture[:, ::2] = 255
    views = split_views(picture, size=20)
    assert views.shape == (6, 3, 20, 20) and views.min() == 0 and views.max() == 1


MEASURE = """
import resource, torch
from geoflow.models.instantmesh.config import published
from geoflow.models.instantmesh.field import Field, Heads
from geoflow.models.instantmesh.flexicubes import extract
from geoflow.models.instantmesh.grid import Grid
torch.set_num_threads(1)
torch.manual_seed(0)
config = published("large")
heads, grid = Heads(config.triplane_dim), Grid(config.grid_res, config.grid_scale)
x = torch.linspace(-1, 1, config.triplane_high_res)
planes = torch.randn(3, config.triplane_dim, 1, 1) * (x[:, None] ** 2 + x**2)[None, None] * 9
from geoflow.models.instantmesh.reconstructor import Reconstructor
class Whole(Reconstructor):
    def __init__(self): self.grid = grid
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
with torch.inference_mode():
    field = Field(heads, planes)
    field.distance(grid.points(torch.arange(9)))
    before = peak()
    distance = field.distances(grid)
    distance -= distance.median()
    vertices, faces = Whole().surface(field, distance)
print(len(grid.crossed(distance)), len(faces), peak() - before)
"""


@pytest.mark.long
def test_the_published_grid_takes_less_than_a_gigabyte() -> None:
    """The original's weights of all 2.1 million cubes take 16 GB (1920 numbers each), computed from its shapes."""
    done = subprocess.run([sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True)
    cubes, faces, mib = (float(word) for word in done.stdout.split())
    assert cubes > 10_000 and faces > 10_000
    assert mib < 1000
