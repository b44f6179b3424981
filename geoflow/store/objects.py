"""Objects of an open store: their masks and meshes, read when they are needed."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import h5py
import numpy as np

from geoflow.errors import StoreError
from geoflow.geometry.labels import numbers_in
from geoflow.geometry.mesh import in_world, is_watertight, seen_share
from geoflow.store.lazy import Lazy
from geoflow.store.meshes import LABEL, NUMBERS, ROWS, STATE, WITHOUT, WITHOUT_POSE, groups
from geoflow.store.object_poses import POSE, POSE_ROWS
from geoflow.values.mesh_values import scale_of

_GOLDEN = 0.618034  # of a full turn: hues of many objects stay apart


@dataclass(frozen=True)
class Mesh:
    """An object's triangle mesh."""

    vertices: np.ndarray  # (V, 3) float32, units and axes of the mesh
    faces: np.ndarray  # (F, 3) int32: numbers of vertices, counter-clockwise from outside
    colours: np.ndarray  # (V, 3) uint8 RGB
    world_from_mesh: np.ndarray  # (4, 4) float32: rotation, scale and place
    frame: int  # source frame number that it was made from
    seen: np.ndarray | None = (
        None  # (V,) bool: the vertex was measured, not closed up; None if the backend does not say
    )

    @property
    def watertight(self) -> bool:
        """Whether the mesh is closed, with the same side outside everywhere."""
        return is_watertight(self.faces)

    @property
    def seen_share(self) -> float | None:
        """Return the share of its area that some frame saw, 0 to 1; None if the backend does not say."""
        return None if self.seen is None else seen_share(self.vertices, self.faces, self.seen)

    @property
    def scale(self) -> float:
        """Return the scene units per unit of the mesh."""
        return scale_of(self.world_from_mesh)

    @property
    def world_vertices(self) -> np.ndarray:
        """Return the vertices in the world: (V, 3) float32 scene units."""
        return in_world(self.vertices, self.world_from_mesh)

    def __repr__(self) -> str:
        return f"Mesh({len(self.vertices):,} vertices, {len(self.faces):,} faces, of frame {self.frame})"


@dataclass(frozen=True)
class ObjectPoses:
    """How an object moves in the world, frame by frame of the store; T frames."""

    world_from_object: np.ndarray  # (T, 4, 4) float32: maps points from their place in `reference`; NaN where unknown
    residual: np.ndarray  # (T,) float32 scene units; NaN where unknown
    points: np.ndarray  # (T,) int32: points that the pose rests on
    centre: np.ndarray  # (3,) float32: median of its points in `reference`, in the world
    reference: int  # source frame number in which the pose is the identity

    @property
    def known(self) -> np.ndarray:
        """Return in which frames the pose is known: (T,) bool."""
        return np.isfinite(self.residual)

    @property
    def path(self) -> np.ndarray:
        """Return where the object's middle is in each frame: (T, 3) float32 world, NaN where unknown."""
        return self.world_from_object[:, :3, :3] @ self.centre + self.world_from_object[:, :3, 3]

    def __repr__(self) -> str:
        return f"ObjectPoses(known in {int(self.known.sum())} of {len(self.known)} frames, since {self.reference})"


class Object:
    """One object of a video."""

    def __init__(self, number: int, label: Lazy | None, group: h5py.Group | None, path: str) -> None:
        self.number = number
        self.without = "" if group is None else str(group.attrs.get(WITHOUT, ""))  # why it has no mesh, if it should
        self.without_poses = "" if group is None else str(group.attrs.get(WITHOUT_POSE, ""))  # why, if it should
        self._label, self._group, self._path = label, group, path

    def mask(self, i: int) -> np.ndarray:
        """Return where frame i of the store shows the object: (H, W) bool. Raises StoreError if the file has no
        labels."""
        if self._label is None:
            raise StoreError(f"{self._path} holds no {LABEL}, so where its objects are seen is not known")
        return self._label[i] == self.number

    @cached_property
    def mesh(self) -> Mesh | None:
        """Return the object's mesh, read at the first use; None if it has none."""
        if self._group is None or "vertices" not in self._group:
            return None
        arrays = {name: Lazy(self._group[name])[()] for name in ROWS if name in self._group}
        frame = int(arrays.pop("frame")[0])
        return Mesh(frame=frame, **arrays)

    @cached_property
    def poses(self) -> ObjectPoses | None:
        """Return how the object moves, read at the first use; None if that is not known."""
        if self._group is None or POSE not in self._group:
            return None
        arrays = {name: Lazy(self._group[POSE][name])[()] for name in POSE_ROWS}
        return ObjectPoses(reference=int(arrays.pop("reference")[0]), **arrays)

    def world_from_mesh(self, i: int) -> np.ndarray | None:
        """Return what maps the mesh into the world in frame i of the store: (4, 4) float32.

        None if the object has no mesh, or if its pose is not known in this frame and in that of the mesh.
        """
        if self.mesh is None or self.poses is None or self.poses.reference != self.mesh.frame:
            return None
        if not self.poses.known[i]:
            return None
        moved = self.poses.world_from_object[i].astype(np.float64) @ self.mesh.world_from_mesh
        return moved.astype(np.float32)

    @property
    def has_mesh(self) -> bool:
        return self._group is not None and "vertices" in self._group

    def __repr__(self) -> str:
        if not self.has_mesh:
            return f"Object({self.number}, no mesh{f': {self.without}' if self.without else ''})"
        return f"Object({self.number}, {self.mesh!r})"


class Objects(Mapping[int, Object]):
    """The objects of a video by number: objects that its labels show, and objects that have a mesh."""

    def __init__(self, file: h5py.File, path: str) -> None:
        self._file, self._path = file, path
        label = Lazy(file[LABEL]) if LABEL in file else None
        own = groups(file)
        self._objects = {n: Object(n, label, own.get(n), path) for n in sorted({*own, *_seen(file)})}

    @property
    def has_labels(self) -> bool:
        return LABEL in self._file

    @property
    def label(self) -> Lazy:
        """Return the number of the object that each pixel shows: (T, H, W) uint8, 0 background; read when indexed.

        Raises StoreError if the file has no labels.
        """
        if not self.has_labels:
            raise StoreError(f"{self._path} holds no {LABEL}; run a pipeline that has the slot objects, or --objects")
        return Lazy(self._file[LABEL])

    @cached_property
    def state(self) -> np.ndarray | None:
        """Return what is known of each object in each frame, (T, 256) uint8: `geoflow.fields.OBJECT_STATES` names the
        codes. None if no stage says so."""
        return self._file[STATE][()] if STATE in self._file else None

    @property
    def meshes(self) -> dict[int, Mesh]:
        """Return all meshes by the number of their object."""
        return {number: row.mesh for number, row in self.items() if row.mesh is not None}

    def __getitem__(self, number: int) -> Object:
        return self._objects[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._objects)

    def __len__(self) -> int:
        return len(self._objects)

    def __repr__(self) -> str:
        if not self._objects:
            return "Objects(none)"
        meshes = sum(row.has_mesh for row in self.values())
        return f"Objects({', '.join(map(str, self))}; {meshes} of {len(self)} with a mesh)"


def colour_of(number: int) -> tuple[int, int, int]:
    """Return the colour (red, green, blue) of an object in pictures: neighbouring numbers get very different colours.

    >>> colour_of(1) != colour_of(2)
    True
    """
    hue = number * _GOLDEN % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.65 if number % 2 else 0.9, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _seen(file: h5py.File) -> list[int]:
    """Return the objects that labels show; read from the labels if the file does not list them."""
    if LABEL not in file:
        return []
    listed = file[LABEL].attrs.get(NUMBERS)
    return numbers_in(file[LABEL][i] for i in range(len(file[LABEL]))) if listed is None else [int(n) for n in listed]
