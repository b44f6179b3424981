"""FlexiCubes (Shen et al. 2023): the mesh of a signed distance on a deformed grid, dual to its cubes.

Everything is for the crossed cubes alone. Each has one vertex for each piece of the surface in it; each crossed edge
with four cubes around it becomes a quadrilateral of their vertices, cut into two triangles.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geoflow.models.instantmesh.cube_cases import EDGES, cube_cases
from geoflow.models.instantmesh.grid import CORNERS, Grid

_SCALE = 0.5  # how far weights may move a vertex: InstantMesh's; FlexiCubes' own is 0.99
_CHUNK = 1 << 16  # cubes at a time


def extract(grid: Grid, distance: Tensor, cubes: Tensor, corners: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return vertices (V, 3) and faces (F, 3) int64 of the surface, whose normals point outward.

    distance (N) of the grid's points, negative inside; cubes (M): the numbers of those that are crossed, rising, as
    `Grid.crossed` finds them; corners (M, 8, 3): the moved points at their corners; weights (M, 21).

    Vertices are in the order of their cubes, first those of cubes that have one, then those of cubes that have two, and
    so on. Edges at the grid's border have no quadrilateral, so the mesh is open there.
    """
    cases = cube_cases(distance.device)
    numbers = grid.corners(cubes)
    case = _settled(grid, cubes, _cases(distance[numbers]))
    groups, counts = cases.groups[case], cases.counts[case]
    first = _first_vertices(counts)
    vertices = corners.new_empty(int(counts.sum()), 3)
    for start in range(0, len(cubes), _CHUNK):
        part = slice(start, start + _CHUNK)
        points, strength = _crossings(distance[numbers[part]], corners[part], weights[part])
        for group in range(int(counts[part].max())):
            rows = counts[part] > group
            share = torch.where(groups[part][rows] == group, strength[rows], 0)[..., None]
            member = share > 0
            total = torch.where(member, points[rows] * share, 0).sum(1)
            vertices[first[part][rows] + group] = total / share.sum(1)
    return vertices, _faces(grid, distance, numbers, groups, first, weights)


def _cases(distance: Tensor) -> Tensor:
    """Cases (M) int64 of cubes from the distances (M, 8) at their corners."""
    bits = 2 ** torch.arange(CORNERS, device=distance.device)
    return ((distance < 0) * bits).sum(1)


def _settled(grid: Grid, cubes: Tensor, case: Tensor) -> Tensor:
    """Cases with those pairs of ambiguous neighbours replaced by their complements that face each other."""
    step = cube_cases(case.device).ambiguous[case]
    rows = step.any(1).nonzero()[:, 0]
    flagged = cubes[rows]
    both = torch.isin(grid.neighbours(flagged, step[rows]), flagged)
    rows = rows[both]
    settled = case.clone()
    settled[rows] = 255 - case[rows]
    return settled


def _first_vertices(counts: Tensor) -> Tensor:
    """The number (M) of each cube's first vertex."""
    order = counts.argsort(stable=True)
    first = torch.empty_like(counts)
    first[order] = counts[order].cumsum(0) - counts[order]
    return first


def _crossings(distance: Tensor, corners: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Where the surface crosses each of the 12 edges, (M, 12, 3), and how strongly this draws the vertex, (M, 12).

    Edges that are not crossed have meaningless points.
    """
    a, b = torch.tensor(EDGES, device=distance.device).unbind(1)
    strength = 1 + _SCALE * torch.tanh(weights[:, : len(EDGES)])
    scaled = distance * (1 + _SCALE * torch.tanh(weights[:, len(EDGES) : len(EDGES) + CORNERS]))
    here, there = scaled[:, a, None], scaled[:, b, None]
    return (corners[:, a] * there - corners[:, b] * here) / (there - here), strength


def _faces(grid: Grid, distance: Tensor, numbers: Tensor, groups: Tensor, first: Tensor, weights: Tensor) -> Tensor:
    """Faces (F, 3): two for each crossed edge that four cubes share, in the order of the edges' points."""
    rows, edges = (groups >= 0).nonzero(as_tuple=True)
    a, b = torch.tensor(EDGES, device=groups.device).unbind(1)
    starts = numbers[rows, a[edges]]
    order = (starts * grid.num_points + numbers[rows, b[edges]]).argsort(stable=True)
    rows, edges, starts = rows[order], edges[order], starts[order]
    ends = numbers[rows, b[edges]]
    whole = _runs_of_four(starts * grid.num_points + ends)
    around = whole[:, None] + torch.arange(4, device=rows.device)
    quads = (first[rows] + groups[rows, edges])[around]
    spread = (0.25 + _SCALE * torch.sigmoid(weights[:, -1]))[rows][around]
    # With a distance of exactly 0, which counts as outside everywhere else, a quadrilateral is turned the wrong way;
    # that is so in the original, too, and a network's distances are never 0.
    outward = distance[starts[whole]] > 0
    turned = torch.tensor([0, 1, 3, 2], device=rows.device), torch.tensor([2, 3, 1, 0], device=rows.device)
    quads = torch.cat([quads[outward][:, turned[0]], quads[~outward][:, turned[1]]])
    spread = torch.cat([spread[outward][:, turned[0]], spread[~outward][:, turned[1]]])
    along = (spread[:, 0] * spread[:, 2] > spread[:, 1] * spread[:, 3])[:, None, None]
    cut = [torch.tensor(rows_, device=rows.device) for rows_ in ([[0, 1, 2], [0, 2, 3]], [[0, 1, 3], [3, 1, 2]])]
    return torch.where(along, quads[:, cut[0]], quads[:, cut[1]]).flatten(0, 1)


def _runs_of_four(keys: Tensor) -> Tensor:
    """Where runs of four equal keys begin, in a sorted list; no key is there more often."""
    _, counts = keys.unique_consecutive(return_counts=True)
    return (counts.cumsum(0) - counts)[counts == 4]
