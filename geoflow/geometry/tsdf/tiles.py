"""The surface that many frames show, in tiles of the world, so that only the blocks of one tile are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from geoflow.geometry.rigid import apply, invert
from geoflow.geometry.tsdf.depth_view import DepthView
from geoflow.geometry.tsdf.mesh_cleaning import clustered, joined
from geoflow.geometry.tsdf.surface_nets import Surface, surface_of
from geoflow.geometry.tsdf.voxel_blocks import (
    SIDE,
    TRUNCATION,
    VoxelBlocks,
    blocks_near,
    keys_of,
    places_of,
    with_neighbours,
)

# Views of frames, counted from 0 and rising. Each call reads them anew; colours may be left out where False.
Views = Callable[[Iterable[int], bool], Iterator[DepthView]]

_FACES_KEPT = 4  # times the faces that are wanted: what waits between two tiles


def fuse(views: Views, count: int, voxel: float, *, max_blocks: int, max_faces: int) -> Surface | None:
    """Return the surface that `count` frames show, None if they show nothing; voxels have sides of `voxel`.

    At most `max_blocks` blocks and their neighbours are fused at once, 12 KB each; frames are read again for every tile
    that they show. Tiles fit together as if they had been fused at once. Where many more than `max_faces` faces come
    together, they are thinned before the next tile, so memory does not grow with the video's length.
    """
    keys, reach = _survey(views, count, voxel)
    if not len(keys):
        return None
    parts: list[Surface] = []
    level = 0
    for own in _tiles(keys, max_blocks):
        blocks = VoxelBlocks(np.intersect1d(with_neighbours(own), keys), voxel)
        for view in views(_showing(reach, blocks, voxel), True):
            blocks.fuse(view)
        parts.append(_thinned(surface_of(blocks, own), level))
        while sum(len(part.faces) for part in parts) > _FACES_KEPT * max_faces:
            level += 1
            parts = [_thinned(joined(parts), level)]
    return joined(parts)


def _survey(views: Views, count: int, voxel: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys of all blocks near a surface, and the box that holds each frame's rays: (T, 2, 3) world."""
    keys = np.zeros(0, np.int64)
    reach = np.full((count, 2, 3), np.nan)
    for i, view in enumerate(views(range(count), False)):
        keys = np.union1d(keys, blocks_near(view.world_points, voxel))
        if (known := view.depth > 0).any():
            world_from_cam = invert(view.cam_from_world.astype(np.float64))
            ends = apply(world_from_cam, view.points[known].astype(np.float64))
            reach[i] = (
                np.minimum(ends.min(0), world_from_cam[:3, 3]),
                np.maximum(ends.max(0), world_from_cam[:3, 3]),
            )
    return keys, reach


def _tiles(keys: np.ndarray, max_blocks: int) -> Iterator[np.ndarray]:
    """Yield boxes of at most `max_blocks` blocks: halves along the longest side, as long as there are more."""
    if len(keys) <= max_blocks:
        yield keys
        return
    places = places_of(keys)
    axis = np.ptp(places, axis=0).argmax()
    middle = np.median(places[:, axis])
    below = places[:, axis] < middle
    if not below.any():  # more than half lie in the first layer
        below = places[:, axis] <= middle
    yield from _tiles(keys[below], max_blocks)
    yield from _tiles(keys[~below], max_blocks)


def _showing(reach: np.ndarray, blocks: VoxelBlocks, voxel: float) -> list[int]:
    """Return the frames whose rays may end in, or pass through, the box around the blocks."""
    places = places_of(blocks.keys)
    margin = TRUNCATION * voxel * 3**0.5
    low, high = places.min(0) * SIDE * voxel - margin, (places.max(0) + 1) * SIDE * voxel + margin
    with np.errstate(invalid="ignore"):
        return np.flatnonzero(((reach[:, 0] <= high) & (reach[:, 1] >= low)).all(1)).tolist()


def _thinned(surface: Surface, level: int) -> Surface:
    """Return the mesh with one vertex for each cube of 2^level cells."""
    if not level or not len(surface.faces):
        return surface
    cubes = keys_of(places_of(surface.keys) >> level)
    thin = clustered(surface, cubes)
    # Keys stay those of cells, so that the next level divides them, too.
    return Surface(thin.vertices, thin.faces, thin.colours, thin.seen, keys_of(places_of(thin.keys) << level))
