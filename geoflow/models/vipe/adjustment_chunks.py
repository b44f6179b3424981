"""Which edges are summed together: all of a disparity map's at once, as many maps as memory allows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geoflow.models.vipe.reprojection import Edges
from geoflow.models.vipe.unknowns import Unknowns

_NUMBERS = {"cpu": 1 << 22}  # of a chunk's derivatives, times pixels; few stay in the processor's caches
_NUMBERS_ELSEWHERE = 1 << 25
_PER_PIXEL = 30  # of an edge


@dataclass(frozen=True)
class Chunk:
    """Some edges, and where their parts of the equations belong. Maps share one count of slots, some stay empty."""

    edges: Tensor  # (E,) numbers of edges
    links: list[tuple[str, Tensor]]  # what an edge depends on, with its block (E,)
    maps: Tensor | None  # (K,) numbers of the free maps; None if the edges' maps are fixed
    rows: Tensor  # (E,) which of `maps` an edge belongs to
    slots: int  # blocks that a map touches, at most
    places: list[Tensor]  # by link, (E,): map and slot, K * slots if the block is fixed
    blocks: Tensor  # (K, slots) the block of each slot, `Unknowns.blocks` where there is none

    def unknowns(self, count: int, scalars: int) -> Tensor:
        """Return the numbers (K, 6 slots + scalars) of the unknowns that a map touches, the total where it has none."""
        total = 6 * count + scalars
        six = torch.arange(6, device=self.blocks.device)
        numbers = (6 * self.blocks[..., None] + six).flatten(1)
        numbers = torch.where(numbers < 6 * count, numbers, total)
        shared = 6 * count + torch.arange(scalars, device=self.blocks.device)
        return torch.cat((numbers, shared.expand(len(numbers), -1)), 1)


def chunks_of(unknowns: Unknowns, edges: Edges, pixels: int) -> list[Chunk]:
    """Return chunks that hold every edge once, and every free map once."""
    row = unknowns.map_rows[edges.disp_i]
    free = len(unknowns.map_numbers)
    at_once = max(1, _NUMBERS.get(row.device.type, _NUMBERS_ELSEWHERE) // (_PER_PIXEL * pixels))
    found = []
    fixed = (row == free).nonzero()[:, 0]
    for part in fixed.split(at_once):
        if len(part):
            found.append(_without_maps(unknowns, edges, part))
    counts = torch.bincount(row, minlength=free + 1)[:free]
    order = counts.argsort(stable=True)
    sizes, start = counts[order].tolist(), 0
    while start < free:
        stop, total = start + 1, sizes[start]
        while stop < free and total + sizes[stop] <= at_once:
            total, stop = total + sizes[stop], stop + 1
        found.append(_with_maps(unknowns, edges, order[start:stop].sort().values, row))
        start = stop
    return found


def _links(unknowns: Unknowns, edges: Edges) -> list[tuple[str, Tensor]]:
    links = [("pose_i", unknowns.pose_blocks[edges.pose_i]), ("pose_j", unknowns.pose_blocks[edges.pose_j])]
    if unknowns.rig_blocks is not None:
        links += [("rig_i", unknowns.rig_blocks[edges.view_i]), ("rig_j", unknowns.rig_blocks[edges.view_j])]
    return links


def _without_maps(unknowns: Unknowns, edges: Edges, part: Tensor) -> Chunk:
    nothing = part.new_zeros(0)
    return Chunk(part, _links(unknowns, edges.of(part)), None, nothing, 0, [], nothing)


def _with_maps(unknowns: Unknowns, edges: Edges, rows: Tensor, row_of_edge: Tensor) -> Chunk:
    place = torch.full((len(unknowns.map_numbers) + 1,), -1, dtype=torch.long, device=rows.device)
    place[rows] = torch.arange(len(rows), device=rows.device)
    part = (place[row_of_edge] >= 0).nonzero()[:, 0]
    own, count = place[row_of_edge[part]], unknowns.blocks
    links = _links(unknowns, edges.of(part))
    touched = torch.zeros(len(rows), count + 1, dtype=torch.bool, device=rows.device)
    for _, block in links:
        touched[own, block] = True
    touched[:, count] = False
    slot = touched.cumsum(1) - 1
    slots = int(slot.max()) + 1 if touched.any() else 0
    blocks = torch.full((len(rows), slots), count, dtype=torch.long, device=rows.device)
    maps, numbers = touched.nonzero(as_tuple=True)
    blocks[maps, slot[maps, numbers]] = numbers
    nowhere = len(rows) * slots
    places = [
        torch.where(block < count, own * slots + slot[own, block], torch.full_like(own, nowhere)) for _, block in links
    ]
    return Chunk(part, links, unknowns.map_numbers[rows], own, slots, places, blocks)
