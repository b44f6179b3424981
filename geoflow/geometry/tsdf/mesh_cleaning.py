"""What a mesh from voxels needs before it is used: no crumbs, no more faces than wanted, and a word on its holes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.geometry.mesh import is_watertight, seen_share, triangle_areas
from geoflow.geometry.tsdf.surface_nets import Surface
from geoflow.geometry.tsdf.voxel_blocks import keys_of

_STEPS = 12  # of the search for the size of a cluster
_LEAN = 1e-2  # of the mean of a cluster against its planes: holds a vertex where these leave it free


@dataclass(frozen=True)
class Soundness:
    """How closed a mesh is, and how much of it was measured."""

    watertight: bool
    seen: float  # share of the area that some frame saw; the rest was closed up
    area: float  # scene units squared

    def __str__(self) -> str:
        closed = "watertight" if self.watertight else "not watertight"
        return f"{closed}, {100 * self.seen:.0f} % of its surface seen"


def soundness(surface: Surface) -> Soundness:
    """Return how closed a mesh is, and how much of it was measured."""
    given = surface.vertices, surface.faces
    return Soundness(
        is_watertight(surface.faces), seen_share(*given, surface.seen), float(triangle_areas(*given).sum())
    )


def without_crumbs(surface: Surface, least_share: float) -> Surface:
    """Leave out what hangs together but has less than this share of the area of the largest such part."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(surface.faces):
        return surface
    count = len(surface.vertices)
    start, stop = surface.faces.ravel(), np.roll(surface.faces, -1, axis=1).ravel()
    part = connected_components(coo_array((np.ones(len(start), bool), (start, stop)), (count, count)))[1]
    part = part[surface.faces[:, 0]]
    area = np.bincount(part, triangle_areas(surface.vertices, surface.faces))
    return with_faces(surface, surface.faces[(area >= least_share * area.max())[part]])


def with_faces(surface: Surface, faces: np.ndarray) -> Surface:
    """Return the mesh with these of its faces (F, 3), without vertices that no face has."""
    used, numbers = np.unique(faces, return_inverse=True)
    rest = {name: getattr(surface, name)[used] for name in ("vertices", "colours", "seen", "keys")}
    return Surface(faces=numbers.reshape(-1, 3).astype(np.int32), **rest)


def decimated(surface: Surface, max_faces: int) -> Surface:
    """Return the mesh with at most `max_faces` faces, as many as a search of 12 steps finds.

    Vertices are clustered in cubes (Rossignac and Borrel 1993), and each cluster put where it is nearest to the planes
    of its triangles (Lindstrom 2000), so flat parts stay flat and creases sharp. A watertight mesh stays watertight.
    """
    if len(surface.faces) <= max_faces:
        return surface
    size = np.ptp(surface.vertices, axis=0).max()
    low, high, best = 0.0, float(size), None
    guess = float(np.sqrt(2 * triangle_areas(surface.vertices, surface.faces).sum() / max_faces))
    for _ in range(_STEPS):
        faces = _faces_left(surface, clusters(surface, guess))
        if len(faces) <= max_faces:
            best, high = guess, guess
        else:
            low = guess
        guess = (low + high) / 2
    return clustered(surface, clusters(surface, high if best is None else best))


def clusters(surface: Surface, cell: float) -> np.ndarray:
    """Return the key of the cube of side `cell` that each vertex lies in: (V,) int64."""
    return keys_of(np.floor(surface.vertices.astype(np.float64) / cell).astype(np.int64))


def clustered(surface: Surface, cluster: np.ndarray) -> Surface:
    """Return the mesh with one vertex for each cluster, given by a key for each vertex (V,)."""
    keys, number, count = np.unique(cluster, return_inverse=True, return_counts=True)
    faces = _faces_left(surface, number)
    mean = _sums(number, surface.vertices.astype(np.float64)) / count[:, None]
    colours = _sums(number, surface.colours.astype(np.float64)) / count[:, None]
    seen = np.bincount(number, ~surface.seen) == 0
    vertices = _nearest_to_planes(surface, number, mean).astype(np.float32)
    merged = Surface(vertices, faces, colours.round().astype(np.uint8), seen, keys)
    return with_faces(merged, faces)


def _faces_left(surface: Surface, cluster: np.ndarray) -> np.ndarray:
    """Return the faces (F, 3) by their clusters, without those that became a line, and without pairs back to back."""
    faces = cluster[surface.faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    if not len(faces):
        return faces
    first = faces.argmin(1)
    faces = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, axis=1)
    front = faces[:, 1] < faces[:, 2]
    alike, where = np.unique(np.sort(faces, axis=1), axis=0, return_inverse=True)
    net: np.ndarray = np.bincount(where.ravel(), np.where(front, 1, -1), len(alike)).astype(np.int64)
    once = np.where((net < 0)[:, None], alike[:, [0, 2, 1]], alike)
    return np.repeat(once, np.abs(net), axis=0)


def _sums(number: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(number, column) for column in values.T], -1)


def _nearest_to_planes(surface: Surface, number: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the point (C, 3) of each cluster with the least sum of squares to its triangles' planes, near its mean."""
    a, b, c = (surface.vertices[surface.faces[:, k]].astype(np.float64) for k in range(3))
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1)
    normal = np.divide(normal, np.sqrt(length)[:, None], out=np.zeros_like(normal), where=length[:, None] > 0)
    owner = number[surface.faces].T.ravel()
    normals = np.tile(normal, (3, 1))
    offset = (normals * (np.tile(a, (3, 1)) - mean[owner])).sum(1)
    planes = np.zeros((len(mean), 3, 3))
    for i in range(3):
        for j in range(3):
            planes[:, i, j] = np.bincount(owner, normals[:, i] * normals[:, j], len(mean))
    pull = np.stack([np.bincount(owner, normals[:, i] * offset, len(mean)) for i in range(3)], -1)
    lean = _LEAN * np.trace(planes, axis1=1, axis2=2) + 1e-12
    return mean + np.linalg.solve(planes + lean[:, None, None] * np.eye(3), pull[..., None])[..., 0]


def joined(surfaces: list[Surface]) -> Surface:
    """Return surfaces of neighbouring parts as one mesh: vertices of the same key are the same vertex."""
    keys = np.concatenate([surface.keys for surface in surfaces])
    starts = np.cumsum([0, *(len(surface.keys) for surface in surfaces)])
    faces = np.concatenate([surface.faces + start for surface, start in zip(surfaces, starts)])
    once, first, number = np.unique(keys, return_index=True, return_inverse=True)
    rest = {
        name: np.concatenate([getattr(s, name) for s in surfaces])[first] for name in ("vertices", "colours", "seen")
    }
    return Surface(faces=number[faces].astype(np.int32), keys=once, **rest)
