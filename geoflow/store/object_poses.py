"""How objects move, in a store: `objects/<number>/pose/{world_from_object, residual, ...}`.

Names, dtypes, shapes, units and meanings are in the field table's rows `pose.*`. Poses are found when the store is put
together, from the tracks in it, so they are of the world as it lies there: bent, if its path was. An object on which
too few points are followed has no poses, and `without_pose` says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from geoflow import fields
from geoflow.geometry.rigid import invert
from geoflow.store.layout import TRACK_TILE
from geoflow.store.meshes import GROUP, KEY, LABEL, NUMBERS, WITHOUT_POSE, groups
from geoflow.store.whole import WholeH5
from geoflow.values.mesh_values import scale_of, similarity_fault

if TYPE_CHECKING:
    from geoflow.geometry.motion.object_motion import ObjectMotion

POSE = "pose"
POSE_ROWS = {name.rpartition(".")[2]: row for name, row in fields.FIELDS.items() if row.group == POSE}
_OBJECT, _XYZ, _VISIBLE, _INDEX = "tracks/object", "tracks/xyz", "tracks/visible", "frames/index"
_POSES = "camera/cam_from_world"
_NEED_REST = "the depth of its points comes from comparing frames, which holds only where nothing moves"
_NOT_RIGID = 1e-3  # of float32 matrices after a few products; more is a stretch that would be visible


def add_poses(whole: WholeH5, *, key: str, tracks_need_rest: bool = False) -> None:
    """Write the poses of all objects that labels show into a store that holds its tracks and meshes.

    `key` is that of the work. If the depth of the tracks holds only where nothing moves (`tracks_need_rest`), no object
    has poses: one that moves could pass for one at rest. A store without tracks on objects is left as it is.
    """
    from geoflow.geometry.motion.object_motion import LEAST_POINTS, object_motion

    file = whole.file
    if any(name not in file for name in (_OBJECT, _XYZ, _VISIBLE, _POSES, LABEL)):
        return
    objects, index = file[_OBJECT][()], file[_INDEX][()]
    for number in file[LABEL].attrs[NUMBERS].tolist():
        group = file.require_group(f"{GROUP}/{number}")
        group.attrs[KEY] = key
        if tracks_need_rest:
            group.attrs[WITHOUT_POSE] = _NEED_REST
            continue
        found = object_motion(_reader(file, np.flatnonzero(objects == number)), len(index))
        if found is None:
            group.attrs[WITHOUT_POSE] = f"fewer than {LEAST_POINTS} points that move as one are followed on it"
        else:
            _write(group, _since_mesh(found, group, index), index)
        whole.check()


def _reader(file: h5py.File, chosen: np.ndarray) -> Any:
    """Return a function that reads the chosen tracks of some frames; whole tiles of tracks, as they lie in the file."""
    columns = TRACK_TILE[1]
    tiles = np.unique(chosen // columns).tolist()

    def read(part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        xyz = np.empty((part.stop - part.start, len(chosen), 3), np.float32)
        seen = np.empty(xyz.shape[:2], bool)
        for tile in tiles:
            inside = chosen // columns == tile
            those = slice(tile * columns, (tile + 1) * columns)
            own = chosen[inside] - those.start
            xyz[:, inside], seen[:, inside] = file[_XYZ][part, those][:, own], file[_VISIBLE][part, those][:, own]
        return xyz, seen, invert(file[_POSES][part].astype(np.float64))[:, :3, 3]

    return read


def _since_mesh(found: ObjectMotion, group: h5py.Group, index: np.ndarray) -> ObjectMotion:
    """Return the motion since the frame of the object's mesh, if both are known."""
    if "frame" not in group:
        return found
    (where,) = np.nonzero(index == group["frame"][0])
    return found.since(int(where[0])) if len(where) and found.known[where[0]] else found


def _write(group: h5py.Group, found: ObjectMotion, index: np.ndarray) -> None:
    arrays = {
        "world_from_object": found.moved,
        "residual": found.residual,
        "points": found.points,
        "centre": found.centre,
        "reference": index[[found.reference]],
    }
    held = group.create_group(POSE)
    for name, row in POSE_ROWS.items():
        dataset = held.create_dataset(name, data=arrays[name].astype(row.dtype))
        dataset.attrs["unit"], dataset.attrs["meaning"] = row.unit, row.meaning


def pose_datasets(file: h5py.File) -> dict[str, dict[str, Any]]:
    """Return the entry of `geoflow info` for each dataset of the poses."""
    return {
        f"{GROUP}/{number}/{POSE}/{name}": {
            "shape": list(group[POSE][name].shape),
            "dtype": row.dtype,
            "unit": row.unit,
            "bytes": int(group[POSE][name].id.get_storage_size()),
        }
        for number, group in groups(file).items()
        if POSE in group
        for name, row in POSE_ROWS.items()
        if name in group[POSE]
    }


def pose_form_faults(file: h5py.File) -> Iterator[str]:
    """Yield what is wrong with the names, dtypes and shapes of poses in a store, one line each."""
    for number, group in groups(file).items():
        for name, row in POSE_ROWS.items() if POSE in group else ():
            where = f"{GROUP}/{number}/{POSE}/{name}"
            if name not in group[POSE]:
                yield f"{where} is missing"
                continue
            found, shape = group[POSE][name], row.shape.replace("T", str(len(file[_INDEX]))).split()
            if found.dtype != np.dtype(row.dtype):
                yield f"{where} should be {row.dtype}, found {found.dtype}"
            if found.shape != tuple(map(int, shape)):
                yield f"{where} should have shape ({', '.join(shape)}), found {found.shape}"


def pose_faults(file: h5py.File) -> Iterator[str]:
    """Yield what is wrong with the values of poses in a store of the right form, one line each."""
    for number, group in groups(file).items():
        if POSE not in group:
            continue
        where = f"{GROUP}/{number}/{POSE}"
        poses, residual, points = (group[POSE][name][()] for name in ("world_from_object", "residual", "points"))
        known = np.isfinite(residual)
        if (np.isfinite(poses).all((1, 2)) != known).any() or (np.isnan(poses).all((1, 2)) == known).any():
            yield f"{where}/world_from_object should be known exactly where {where}/residual is"
        elif ((points > 0) != known).any():
            yield f"{where}/points should be 0 exactly where the pose is unknown"
        else:
            yield from _rigid(where, poses, known)
        (reference,) = np.nonzero(file[_INDEX][()] == group[POSE]["reference"][0])
        if not len(reference) or not np.array_equal(poses[reference[0]], np.eye(4, dtype=np.float32)):
            yield f"{where}/reference should be a frame of this video in which the pose is the identity"


def _rigid(where: str, poses: np.ndarray, known: np.ndarray) -> Iterator[str]:
    for i in np.flatnonzero(known):
        fault = similarity_fault(poses[i])
        if not fault and abs(scale_of(poses[i]) - 1) > _NOT_RIGID:
            fault = f"should be a rotation and a translation, found the scale {scale_of(poses[i]):g}"
        if fault:
            yield f"{where}/world_from_object frame {i} {fault}"
            return
