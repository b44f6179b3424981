"""Meshes of objects in a store, and in part files before it: `objects/<number>/{vertices, faces, ...}`.

Names, dtypes, shapes, units and meanings are in the field table's rows `mesh.*`. The group of an object holds the key
of the work that its mesh is a part of. If an object should have a mesh and has none, `without` says why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from geoflow import fields
from geoflow.errors import StageError, StoreError
from geoflow.geometry.labels import numbers_in
from geoflow.segments import VideoInfo
from geoflow.store.paths import RunPaths
from geoflow.store.schema import WORK
from geoflow.store.whole import WholeH5, whole_h5
from geoflow.store.work_key import work_key
from geoflow.values.mesh_values import mesh_fault
from geoflow.values.object_names import MESH, MESH_SEEN, MOST_OBJECTS, name_for

if TYPE_CHECKING:
    from geoflow.geometry.loops.bending import Bend

Mesh = Mapping[str, np.ndarray]  # "vertices", "faces", "colours", "world_from_mesh", "frame"; there may be "seen"
MeshSource = Mesh | Path  # or the part file that holds it

GROUP = "objects"
LABEL = "objects/label"
STATE = "objects/state"
NUMBERS = "numbers"  # attribute of the labels: the objects that are seen in any frame
KEY = "key"  # attribute of an object: of the work that its mesh is a part of
COURSE = "course"  # attribute of a mesh's part file: digest of the last segment's, so of all that it was made from
WITHOUT_POSE = "without_pose"  # attribute of an object on which points were to be followed: why it has no poses
WITHOUT = "without"  # attribute of an object that should have a mesh and has none: why
ROWS = {name.rpartition(".")[2]: row for name, row in fields.FIELDS.items() if row.group == MESH}
OPTIONAL = MESH_SEEN.rpartition(".")[2]  # of the rows, what a mesh may lack
_PLACE = "world_from_mesh"
_SMALL = 64  # bytes: smaller arrays are not chunked


def write_mesh_part(paths: RunPaths, video: VideoInfo, number: int, mesh: Mesh, key: str, *, course: str = "") -> Path:
    """Store the finished mesh of an object until its video is done; `key` is that of the work. Returns its path.

    `course` is the digest of the last of the video's segments, where the mesh was made from these.

    The file appears whole or not at all. Raises StoreError for a mesh that is none, and when the disk refuses.
    """
    path = paths.mesh_part(video.name, number, key)
    with whole_h5(path) as whole:
        _write(whole.file, number, mesh, key, compression=1)
        whole.file.attrs["number"], whole.file.attrs["digest"] = number, _digest(number, mesh, key)
        whole.file.attrs[COURSE] = course
    return path


def read_mesh_part(path: Path, number: int, key: str) -> dict[str, np.ndarray]:
    """Return the mesh that `write_mesh_part` stored. Raises StoreError for an incomplete file, or one of other work."""
    try:
        with h5py.File(path, "r") as file:
            mesh = {name: file[name][()] for name in ROWS if name in file or name != OPTIONAL}
            said = (int(file.attrs["number"]), str(file.attrs[KEY]), str(file.attrs["digest"]))
    except (OSError, KeyError) as error:
        raise StoreError(f"cannot read the finished mesh {path}: {error}; delete it and run again") from error
    if said != (number, key, _digest(number, mesh, key)):
        raise StoreError(f"{path} is not the mesh of object {number} of this work; delete it and run again")
    return mesh


def made_in(path: Path, number: int, key: str, course: str) -> bool:
    """Whether the mesh that is kept there is whole, and was made from segments of this course of the work.

    One that is not is deleted, so that it is made anew.
    """
    try:
        read_mesh_part(path, number, key)
        with h5py.File(path, "r") as file:
            if file.attrs.get(COURSE) == course:
                return True
    except (OSError, StoreError):
        pass
    path.unlink(missing_ok=True)
    return False


def add_objects(
    whole: WholeH5,
    meshes: Mapping[int, MeshSource],
    without: Mapping[int, str],
    *,
    key: str,
    compression: int,
    bend: Bend | None = None,
) -> None:
    """Write the objects of a video into its store, and list the objects that its labels show.

    With `bend`, a mesh moves as the frame does that it was made from.

    Raises StoreError that names the object for an invalid mesh, or a mesh without a label.
    """
    file, seen = whole.file, []
    if LABEL in file:
        seen = numbers_in(file[LABEL][i] for i in range(len(file[LABEL])))
        file[LABEL].attrs[NUMBERS] = np.array(seen, np.int64)
    if unseen := sorted({*meshes, *without} - set(seen)):
        raise StoreError(f"there are meshes of objects {unseen}, but labels show {seen or 'none'}; please report this")
    for number, source in sorted(meshes.items()):
        mesh = read_mesh_part(source, number, key) if isinstance(source, Path) else source
        _check(number, mesh)
        (where,) = np.nonzero(file["frames/index"][()] == mesh["frame"][0])
        if not len(where):
            raise StoreError(f"the mesh of object {number} is of frame {mesh['frame'][0]}, which is not in this video")
        if bend is not None:
            from geoflow.store.bent_arrays import bent_placement

            mesh = {**mesh, _PLACE: bent_placement(mesh[_PLACE], bend.of_frames[where[:1]])}
        _write(file.create_group(f"{GROUP}/{number}"), number, mesh, key, compression)
        whole.check()
    for number, reason in sorted(without.items()):
        file.require_group(f"{GROUP}/{number}").attrs.update({KEY: key, WITHOUT: reason})


def _write(group: h5py.Group, number: int, mesh: Mesh, key: str, compression: int) -> None:
    _check(number, mesh)
    for name, row in ROWS.items():
        if name == OPTIONAL and name not in mesh:
            continue
        array = mesh[name]
        packed: dict[str, Any] = {"compression": "gzip", "compression_opts": compression, "shuffle": True}
        dataset = group.create_dataset(name, data=array, **(packed if compression and array.nbytes > _SMALL else {}))
        dataset.attrs["unit"], dataset.attrs["meaning"] = row.unit, row.meaning
    group.attrs[KEY] = key


def _check(number: int, mesh: Mesh) -> None:
    _check_number(number)
    names = tuple(row.name for row in ROWS.values() if row.name != MESH_SEEN)
    try:
        arrays = {name_for(f"{MESH}.{name}", number): array for name, array in mesh.items()}
        fields.check(arrays, names, optional=(MESH_SEEN,), who=f"the mesh of object {number}")
    except StageError as error:
        raise StoreError(str(error)) from None


def _check_number(number: int) -> None:
    if not 1 <= number <= MOST_OBJECTS:
        raise StoreError(f"an object's number should be 1 to {MOST_OBJECTS}, found {number}")


def _digest(number: int, mesh: Mesh, key: str) -> str:
    digest = hashlib.sha256(f"{key} {number}".encode())
    for name in (name for name in ROWS if name in mesh):
        digest.update(f"{name} {mesh[name].shape}".encode())
        digest.update(np.ascontiguousarray(mesh[name]).data.cast("B"))
    return digest.hexdigest()[:20]


def groups(file: h5py.File) -> dict[int, h5py.Group]:
    """Return the objects of a store that have their own group: number -> group, in rising order."""
    if GROUP not in file:
        return {}
    found = {int(name): group for name, group in file[GROUP].items() if name.isdecimal()}
    return dict(sorted(found.items()))


def has_mesh(group: h5py.Group) -> bool:
    """Return whether an object's group holds a mesh, or parts of one."""
    return any(name in group for name in ROWS)


def mesh_datasets(file: h5py.File) -> dict[str, dict[str, Any]]:
    """Return the entry of `geoflow info` for each dataset of the meshes."""
    return {
        f"{GROUP}/{number}/{name}": {
            "shape": list(group[name].shape),
            "dtype": row.dtype,
            "unit": row.unit,
            "bytes": int(group[name].id.get_storage_size()),
        }
        for number, group in groups(file).items()
        for name, row in ROWS.items()
        if name in group
    }


def mesh_form_faults(file: h5py.File) -> Iterator[str]:
    """Yield what is wrong with the names, dtypes, shapes and keys of the meshes in a store, one line each."""
    if GROUP not in file:
        return
    work = work_key(str(file.attrs[WORK])) if WORK in file.attrs else None
    maps = {name.rpartition(".")[2] for name, row in fields.FIELDS.items() if row.group == GROUP}
    for name in file[GROUP]:
        if name not in maps and not (name.isdecimal() and 1 <= int(name) <= MOST_OBJECTS):
            yield f"{GROUP}/{name} is not an object: its name should be a number from 1 to {MOST_OBJECTS}"
    if LABEL not in file:
        yield f"{LABEL} is missing beside the meshes of objects"
    for number, group in groups(file).items():
        where = f"{GROUP}/{number}"
        if work is not None and group.attrs.get(KEY) != work:
            yield f"{where} is part of other work than the file states; compute the video again with --fresh"
        if has_mesh(group):
            yield from _form(where, group)
        elif not len(group) and not {WITHOUT, WITHOUT_POSE} & set(group.attrs):
            yield f"{where} has neither a mesh nor poses, nor a reason why it has none"


def _form(where: str, group: h5py.Group) -> Iterator[str]:
    sizes: dict[str, int] = {}
    for name, row in ROWS.items():
        if name not in group:
            if name != OPTIONAL:
                yield f"{where}/{name} is missing"
            continue
        found = group[name]
        if found.dtype != np.dtype(row.dtype):
            yield f"{where}/{name} should be {row.dtype}, found {found.dtype}"
        symbols = row.shape.split()
        sizes |= {s: n for s, n in zip(symbols, found.shape) if not s.isdigit() and s not in sizes}
        if found.shape != tuple(int(s) if s.isdigit() else sizes[s] for s in symbols):
            yield f"{where}/{name} should have shape ({row.shape}), found {found.shape}"


def object_faults(file: h5py.File) -> Iterator[str]:
    """Yield what is wrong with the values of labels and meshes in a store of the right form, one line each."""
    if GROUP not in file:
        return
    seen = numbers_in(file[LABEL][i] for i in range(len(file[LABEL])))
    listed = file[LABEL].attrs.get(NUMBERS)
    if listed is not None and listed.tolist() != seen:
        yield f"{LABEL} shows objects {seen}, but lists {listed.tolist()}"
    index = file["frames/index"][()]
    for number, group in groups(file).items():
        where = f"{GROUP}/{number}"
        if number not in seen:
            yield f"{where} is an object that no frame of {LABEL} shows"
        if not has_mesh(group):
            continue
        mesh = {name: group[name][()] for name in ROWS if name in group}
        if fault := mesh_fault(mesh):
            yield f"{where}/{fault}"
        elif not np.isin(mesh["frame"], index).all():
            yield f"{where}/frame {mesh['frame'][0]} is not a frame of this video"
