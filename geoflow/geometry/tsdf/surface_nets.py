"""The surface of voxel blocks as triangles by naive surface nets (Gibson 1998): no table, one vertex for each cell.

A cell has eight neighbouring voxels as its corners. If the sign changes between them, it has a vertex: the mean of the
places on its edges where the distance is 0. Each edge of voxels where the sign changes joins the vertices of the four
cells around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.geometry.tsdf.voxel_blocks import FAINT, SIDE, VOXELS, VoxelBlocks, keys_of, places_of

_AT_ONCE = 512  # blocks, about 20 MB of intermediate arrays
_CORNERS = np.array([[k >> 2 & 1, k >> 1 & 1, k & 1] for k in range(8)])
_EDGES = np.array([(i, i | bit) for i in range(8) for bit in (1, 2, 4) if not i & bit])  # (12, 2) corners


@dataclass(frozen=True)
class Surface:
    """A mesh in the world."""

    vertices: np.ndarray  # (V, 3) float32
    faces: np.ndarray  # (F, 3) int32, counter-clockwise seen from the empty side
    colours: np.ndarray  # (V, 3) uint8
    seen: np.ndarray  # (V,) bool: measured; False where the surface was closed up
    keys: np.ndarray  # (V,) int64: of the cell of each vertex


@dataclass
class _Cells:
    keys: np.ndarray  # (C,) int64
    vertices: np.ndarray  # (C, 3) float64, in voxels
    colours: np.ndarray  # (C, 3) uint8
    seen: np.ndarray  # (C,) bool


def surface_of(blocks: VoxelBlocks, own: np.ndarray | None = None, *, close: bool = False) -> Surface:
    """Return the surface where the distance is 0 between voxels that are known.

    `own` are the keys of the blocks whose surface is wanted, None for all. Their neighbours must be among `blocks`.
    Surfaces of neighbouring parts then have the same vertices, with the same keys, where they touch.

    With `close`, what no frame saw counts as filled: the surface is closed if the outermost blocks are empty.
    """
    rows = np.arange(len(blocks.keys)) if own is None else blocks.find(np.sort(own))
    around = np.stack(np.meshgrid(*[[-1, 0]] * 3, indexing="ij"), -1).reshape(-1, 3)
    wanted = blocks.find(np.unique(keys_of(places_of(blocks.keys[rows])[:, None] + around)))
    cells = _merged([_cells(blocks, part, close) for part in _parts(wanted[wanted >= 0])])
    quads = [_quads(blocks, part, cells.keys, close) for part in _parts(rows)]
    corners = np.concatenate([*quads, np.zeros((0, 4), np.int64)])
    used, corners = np.unique(corners, return_inverse=True)
    vertices = (cells.vertices[used] * blocks.voxel).astype(np.float32)
    faces = _triangles(vertices, corners.reshape(-1, 4))
    return Surface(vertices, faces, cells.colours[used], cells.seen[used], cells.keys[used])


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]


def _merged(parts: list[_Cells]) -> _Cells:
    """Return all cells, their keys rising."""
    if not parts:
        return _Cells(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0, bool))
    keys = np.concatenate([part.keys for part in parts])
    order = np.argsort(keys)
    rest = [np.concatenate([getattr(part, name) for part in parts])[order] for name in ("vertices", "colours", "seen")]
    return _Cells(keys[order], *rest)


def _padded(blocks: VoxelBlocks, rows: np.ndarray) -> np.ndarray:
    """Return, for rows (R,), the numbers of their voxels and of the next ones: (R, 9, 9, 9), -1 outside."""
    places = places_of(blocks.keys[rows])
    padded = np.empty((len(rows), SIDE + 1, SIDE + 1, SIDE + 1), np.int64)
    local = np.arange(VOXELS).reshape(SIDE, SIDE, SIDE)
    for corner in _CORNERS:
        there = blocks.find(keys_of(places + corner))
        here = tuple(slice(SIDE, None) if c else slice(0, SIDE) for c in corner)
        theirs = tuple(slice(0, 1) if c else slice(None) for c in corner)
        numbers = there[:, None, None, None] * VOXELS + local[theirs]
        padded[(slice(None), *here)] = np.where(there[:, None, None, None] < 0, -1, numbers)
    return padded


def _values(blocks: VoxelBlocks, number: np.ndarray, close: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return distances, and whether they are known, of voxels by their numbers, of whatever shape."""
    weight = np.where(number >= 0, blocks.weight.reshape(-1)[number], 0)
    distance = blocks.distance.reshape(-1)[number]
    if close:
        distance = np.where(weight > 0, distance, np.where(number < 0, np.float32(1), np.float32(-1)))
    return distance, weight > FAINT


def _cells(blocks: VoxelBlocks, rows: np.ndarray, close: bool) -> _Cells:
    number = _padded(blocks, rows)
    distance, known = _values(blocks, number, close)
    shifted = [(slice(None), *(slice(c, c + SIDE) for c in corner)) for corner in _CORNERS]
    inside = [(distance[at] < 0) for at in shifted]
    whole = np.logical_and.reduce([known[at] for at in shifted])
    mixed = np.logical_or.reduce(inside) & ~np.logical_and.reduce(inside)
    active = mixed & (whole | close)
    corner_values = np.stack([distance[at][active] for at in shifted], -1).astype(np.float64)  # (C, 8)
    numbers = np.stack([number[at][active] for at in shifted], -1)
    first, second = corner_values[:, _EDGES[:, 0]], corner_values[:, _EDGES[:, 1]]
    crossed = (first < 0) != (second < 0)
    along = np.divide(first, first - second, out=np.zeros_like(first), where=crossed)
    points = _CORNERS[_EDGES[:, 0]] + along[..., None] * (_CORNERS[_EDGES[:, 1]] - _CORNERS[_EDGES[:, 0]])
    middle = (points * crossed[..., None]).sum(1) / crossed.sum(1)[:, None]
    row, x, y, z = np.nonzero(active)
    places = places_of(blocks.keys[rows[row]]) * SIDE + np.stack([x, y, z], -1)
    # Numbers of -1 name the last voxel; its colour counts for nothing there.
    sums = (blocks.colour.reshape(-1, 4)[numbers] * (numbers >= 0)[..., None]).sum(1, dtype=np.float64)
    colours = np.divide(sums[:, :3], sums[:, 3:], out=np.full((len(sums), 3), 128.0), where=sums[:, 3:] > 0)
    return _Cells(keys_of(places), places + middle, colours.round().clip(0, 255).astype(np.uint8), whole[active])


def _quads(blocks: VoxelBlocks, rows: np.ndarray, keys: np.ndarray, close: bool) -> np.ndarray:
    """Return the cells around each edge where the sign changes, by their place among `keys`: (Q, 4)."""
    number = _padded(blocks, rows)
    distance, known = _values(blocks, number, close)
    origin = (slice(None), slice(0, SIDE), slice(0, SIDE), slice(0, SIDE))
    found = [np.zeros((0, 4), np.int64)]
    for axis in range(3):
        ahead = (slice(None), *(slice(k == axis, SIDE + (k == axis)) for k in range(3)))
        inside = distance[origin] < 0
        change = (inside != (distance[ahead] < 0)) & ((known[origin] & known[ahead]) | close)
        row, x, y, z = np.nonzero(change)
        places = places_of(blocks.keys[rows[row]]) * SIDE + np.stack([x, y, z], -1)
        b, c = np.eye(3, dtype=np.int64)[[(axis + 1) % 3, (axis + 2) % 3]]
        around = keys_of(places[:, None] - np.stack([b + c, c, 0 * b, b]))
        outward = inside[change]
        around = np.where(outward[:, None], around, around[:, ::-1])
        at = np.searchsorted(keys, around).clip(0, max(len(keys) - 1, 0))
        found.append(at[(keys[at] == around).all(1)] if len(keys) else found[0])
    return np.concatenate(found)


def _triangles(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Return two triangles (2 Q, 3) int32 of each quad (Q, 4), divided along the shorter diagonal."""
    corners = vertices[quads]
    turn = np.linalg.norm(corners[:, 0] - corners[:, 2], axis=1) > np.linalg.norm(corners[:, 1] - corners[:, 3], axis=1)
    quads = np.where(turn[:, None], np.roll(quads, -1, axis=1), quads)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
