"""What the surface looks like in a cube, for each of the 256 ways in which its corners can be inside.

The surface crosses the edges between an inside and an outside corner. Crossed edges belong together, and get one vertex
of the mesh, if a piece of the surface connects them. On each face with two crossed edges a piece connects these two. On
a face with four, it connects the two that meet at each inside corner. So no table has to be written down.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

# Corners of each edge, from its first to its second; along an axis all edges run the same way.
EDGES = ((0, 1), (1, 5), (4, 5), (0, 4), (2, 3), (3, 7), (6, 7), (2, 6), (2, 0), (3, 1), (7, 5), (6, 4))
_AMBIGUOUS = (5, 6)  # inside corners of a case that may have to be replaced
_FACES = tuple((axis, side) for axis in range(3) for side in range(2))


@dataclass(frozen=True)
class CubeCases:
    """Tables for all 256 cases; bit c of a case is corner c, set inside."""

    groups: Tensor  # (256, 12) int64, the group of each edge, from 0; -1: not crossed
    counts: Tensor  # (256,) int64, how many groups
    ambiguous: Tensor  # (256, 3) int64, the step to the neighbour with which a case has to be settled; 0: none


@functools.cache
def cube_cases(device: torch.device | str = "cpu") -> CubeCases:
    """Return the tables on a device."""
    groups = torch.tensor([groups_of(case) for case in range(256)], device=device)
    ambiguous = torch.tensor([ambiguous_step(case) for case in range(256)], device=device)
    return CubeCases(groups, groups.amax(1) + 1, ambiguous)


def groups_of(case: int) -> list[int]:
    """Return the group of each of the 12 edges, from 0; -1 where the surface does not cross the edge.

    >>> groups_of(0b00000001)
    [0, -1, -1, 0, -1, -1, -1, -1, 0, -1, -1, -1]
    """
    inside = [bool(case >> corner & 1) for corner in range(8)]
    group = [edge if inside[a] != inside[b] else -1 for edge, (a, b) in enumerate(EDGES)]
    for face in _FACES:
        crossed = _crossed(face, inside)
        corners = [corner for corner in range(8) if _on(face, corner) and inside[corner]]
        meeting = [[edge for edge in crossed if corner in EDGES[edge]] for corner in corners]
        for together in [crossed] if len(crossed) == 2 else meeting if len(crossed) == 4 else []:
            group = [group[together[0]] if g == group[together[1]] else g for g in group]
    names = sorted({g for g in group if g >= 0})
    return [names.index(g) if g >= 0 else -1 for g in group]


def ambiguous_step(case: int) -> tuple[int, int, int]:
    """Return the step to the neighbour with which a case has to agree; zeros if it is not ambiguous.

    It is, if the surface crosses one face four times, and no other, and 5 or 6 corners are inside. Two such neighbours
    at their common face would give the mesh edges that more than two of its faces share.
    """
    inside = [bool(case >> corner & 1) for corner in range(8)]
    faces = [face for face in _FACES if len(_crossed(face, inside)) == 4]
    if len(faces) != 1 or sum(inside) not in _AMBIGUOUS:
        return 0, 0, 0
    (axis, side), step = faces[0], [0, 0, 0]
    step[axis] = 2 * side - 1
    return step[0], step[1], step[2]


def _crossed(face: tuple[int, int], inside: list[bool]) -> list[int]:
    """Return the edges of a face that the surface crosses."""
    on_face = [edge for edge, (a, b) in enumerate(EDGES) if _on(face, a) and _on(face, b)]
    return [edge for edge in on_face if inside[EDGES[edge][0]] != inside[EDGES[edge][1]]]


def _on(face: tuple[int, int], corner: int) -> bool:
    axis, side = face
    return corner >> axis & 1 == side
