"""Known cameras from files: COLMAP models, ViPE artefacts, TUM trajectories and GeoFlow stores.

All are converted here to GeoFlow's conventions: cam_from_world, OpenCV axes, pixel centres at integers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.errors import InputError
from geoflow.geometry.cameras import pinhole_matrix
from geoflow.geometry.rigid import invert, nearest_rotation
from geoflow.video.lens import Distortion

_CORNER = 0.5  # COLMAP's and ViPE's pixels: the centre of the first pixel is at (0.5, 0.5)
_SKEWED = 0.02  # how far from a rotation a matrix may be: files are rounded
_MODEL_FILES = ("cameras.bin", "cameras.txt")

# The places of COLMAP's parameters: focal lengths, principal point, k1, k2, p1, p2, k3.
_COLMAP = {
    "SIMPLE_PINHOLE": ((0, 0, 1, 2), ()),
    "PINHOLE": ((0, 1, 2, 3), ()),
    "SIMPLE_RADIAL": ((0, 0, 1, 2), (3,)),
    "RADIAL": ((0, 0, 1, 2), (3, 4)),
    "OPENCV": ((0, 1, 2, 3), (4, 5, 6, 7)),
    "FULL_OPENCV": ((0, 1, 2, 3), (4, 5, 6, 7, 8)),  # and three parameters of a denominator, which must be 0
}


@dataclass(frozen=True)
class CameraFile:
    """Poses from a file, by the number of the frame in the source (from 0), or by the frame's time.

    The format decides which of `number`, `names` and `time` are set.
    """

    kind: str  # in words
    cam_from_world: np.ndarray  # (N, 4, 4) float64, in the file's own unit
    number: np.ndarray | None = None  # (N,) int64 of the source's frames
    names: tuple[str, ...] = ()  # names of pictures: if a frame folder has these names, they decide
    time: np.ndarray | None = None  # (N,) float64 s, rising
    intrinsics: np.ndarray | None = None  # (N, 3, 3) float64 px; NaN where unknown
    size: tuple[int, int] | None = None  # (width, height) of the pictures that `intrinsics` hold for
    distortion: Distortion | None = None  # of all frames
    metric: bool = False  # the file says that its unit is the metre
    source_sha256: str = ""  # of the video that a store was made from


def is_one_video(path: str) -> bool:
    """Return whether a path holds the cameras of a single video, whatever its name."""
    return os.path.isfile(path) or _model_folder(path) is not None


def find(path: str, name: str) -> str | None:
    """Return the path below `path` of the cameras of the video `name`; None if there are none.

    A file, or a COLMAP model, is taken for any video. In other folders the cameras are named after the video: NAME.h5,
    NAME.txt or NAME.tum, a folder NAME, `pose/NAME.npz` (ViPE), or `videos/NAME.h5` (the folder of an earlier run).
    """
    if is_one_video(path):
        return path
    own = (f"{name}.h5", f"{name}.txt", f"{name}.tum", os.path.join("videos", f"{name}.h5"))
    found = [entry for file in own if os.path.isfile(entry := os.path.join(path, file))]
    if os.path.isfile(os.path.join(path, "pose", f"{name}.npz")):
        found.append(path)
    inside = os.path.join(path, name)
    if os.path.isdir(inside) and (further := find(inside, name)) is not None:
        found.append(further)
    if len(found) > 1:
        raise InputError(f"{path} holds cameras of {name} more than once: {' and '.join(found)}; keep one of them")
    return found[0] if found else None


def read(path: str, name: str) -> CameraFile:
    """Read the cameras of the video `name` that `find` found at `path`. Raises InputError that names the file."""
    try:
        if os.path.isdir(path):
            model = _model_folder(path)
            found = _read_vipe(path, name) if model is None else _read_colmap(model)
        else:
            found = _read_store(path) if path.endswith((".h5", ".hdf5")) else _read_tum(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({reason}); check the file of --cameras") from None
    if not len(found.cam_from_world):
        raise InputError(f"{path} ({found.kind}) holds no pose; give another with --cameras")
    return found


def _rigid(poses: np.ndarray, where: str) -> np.ndarray:
    """Return transforms (N, 4, 4) float64 with exact rotations. Raises InputError if a matrix is not a rotation."""
    poses = np.array(poses, np.float64)
    if poses.shape[1:] != (4, 4) or not np.isfinite(poses).all():
        raise InputError(f"{where} should hold 4x4 matrices of finite numbers, found an array of shape {poses.shape}")
    turns = np.array([nearest_rotation(pose[:3, :3]) for pose in poses]).reshape(-1, 3, 3)
    off = np.abs(turns - poses[:, :3, :3]).max((1, 2), initial=0)
    wrong = np.flatnonzero((off > _SKEWED) | (np.abs(poses[:, 3] - (0, 0, 0, 1)).max(1, initial=0) > 1e-6))
    if len(wrong):
        raise InputError(f"{where}: pose {wrong[0]} is no rotation and translation; poses should be rigid")
    poses[:, :3, :3] = turns
    return poses


def once(numbers: Sequence[int] | np.ndarray, where: str) -> np.ndarray:
    """Return numbers of frames, (N,) int64. Raises InputError if a number is there twice, or is below 0."""
    found = np.asarray(numbers, np.int64)
    counted, times = np.unique(found, return_counts=True)
    if (times > 1).any():
        raise InputError(f"{where} has frame {counted[times > 1][0]} more than once; one pose per frame is needed")
    if len(found) and found.min() < 0:
        raise InputError(f"{where} has frame {found.min()}; frames are counted from 0")
    return found


# COLMAP


def _model_folder(path: str) -> str | None:
    for below in ("", "sparse/0", "sparse", "0"):
        folder = os.path.join(path, below) if below else path
        if any(os.path.isfile(os.path.join(folder, name)) for name in _MODEL_FILES):
            return folder
    return None


def _read_colmap(folder: str) -> CameraFile:
    import pycolmap

    pycolmap.logging.minloglevel = 3
    try:
        model = pycolmap.Reconstruction(folder)
    except Exception as error:  # of several kinds, recognised by their text
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{folder} is no whole COLMAP model ({reason}); it needs cameras, images and points3D"
        ) from None
    images = sorted((image for image in model.images.values() if image.has_pose), key=lambda image: image.name)
    cameras = [model.cameras[image.camera_id] for image in images]
    lenses = [_colmap_lens(camera, folder) for camera in cameras]
    sizes, bends = {(c.width, c.height) for c in cameras}, {bend for _, bend in lenses}
    if len(sizes) > 1 or len(bends) > 1:
        raise InputError(
            f"{folder} has cameras of different {'sizes' if len(sizes) > 1 else 'lenses'}; a video has one"
        )
    poses = np.array([np.vstack([image.cam_from_world().matrix(), (0, 0, 0, 1)]) for image in images])
    return CameraFile(
        "COLMAP model",
        _rigid(poses.reshape(-1, 4, 4), folder),
        number=_stated_numbers(folder, [image.name for image in images]),
        names=tuple(image.name for image in images),
        intrinsics=np.array([k for k, _ in lenses]).reshape(-1, 3, 3),
        size=next(iter(sizes), None),
        distortion=next(iter(bends), None),
    )


def _colmap_lens(camera: Any, folder: str) -> tuple[np.ndarray, Distortion | None]:
    where, values = _COLMAP.get(camera.model_name), list(camera.params)
    if where is None or (camera.model_name == "FULL_OPENCV" and any(values[9:])):
        raise InputError(
            f"{folder} has a camera of the model {camera.model_name}, which OpenCV's five coefficients do not cover; "
            "undistort the pictures first (colmap image_undistorter), and give that model"
        )
    fx, fy, cx, cy = (values[i] for i in where[0])
    k1, k2, p1, p2, k3 = [values[i] for i in where[1]] + [0.0] * (5 - len(where[1]))
    k = pinhole_matrix(fx, fy, cx - _CORNER, cy - _CORNER)
    bend = (k1, k2, p1, p2, k3)
    return k, bend if any(bend) else None


def _stated_numbers(folder: str, names: Sequence[str]) -> np.ndarray | None:
    """Return the source's frame numbers of a model's pictures from `frames.txt`, as GeoFlow's exports write it.

    The file lies beside the model or above it. None if there is no such file, or it lacks a picture.
    """
    for place in (folder, os.path.dirname(folder), os.path.dirname(os.path.dirname(folder))):
        if os.path.isfile(path := os.path.join(place, "frames.txt")):
            rows = [line.split() for line in Path(path).read_text().splitlines()]
            stated = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
            if names and all(name in stated for name in names):
                return once([stated[name] for name in names], path)
    return None


def number_in(name: str, where: str) -> int:
    """Return the last number in a picture's name, the number of its frame. Raises InputError if there is none."""
    digits = re.findall(r"\d+", Path(name).stem)
    if not digits:
        raise InputError(
            f"{where} has a picture {name!r} without a number; pictures should be named after the frame's number in "
            "the video, the first 0, such as 000000.jpg"
        )
    return int(digits[-1])


# ViPE


def _read_vipe(folder: str, name: str) -> CameraFile:
    path = os.path.join(folder, "pose", f"{name}.npz")
    world_from_cam, numbers, source = _npz(path)
    poses = invert(_rigid(world_from_cam, path))
    found = CameraFile("ViPE artefacts", poses, number=once(numbers if source is None else source, path))
    lens = os.path.join(folder, "intrinsics", f"{name}.npz")
    if not os.path.isfile(lens):
        return found
    types = os.path.join(folder, "intrinsics", f"{name}_camera.txt")
    if os.path.isfile(types) and (others := set(re.findall(r":\s*(\w+)", Path(types).read_text())) - {"PINHOLE"}):
        raise InputError(f"{types} states {', '.join(sorted(others))} cameras; only PINHOLE ones can be used")
    values, of, _ = _npz(lens)
    if values.ndim != 2 or values.shape[1] < 4 or not np.isfinite(values[:, :4]).all():
        raise InputError(f"{lens} should hold fx, fy, cx, cy of each frame, found an array of shape {values.shape}")
    k = np.full((len(numbers), 3, 3), np.nan)
    row = {int(n): i for i, n in enumerate(of)}
    for i, number in enumerate(numbers):
        if (at := row.get(int(number))) is not None:
            fx, fy, cx, cy = values[at, :4]
            k[i] = pinhole_matrix(fx, fy, cx - _CORNER, cy - _CORNER)
    return replace(found, intrinsics=k, size=_picture_size(folder, name))


def _npz(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return data, their frame numbers, and the numbers of these frames in the source, if the file has them.

    See `export_vipe`.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            data, inds = file["data"].astype(np.float64), file["inds"].astype(np.int64)
            source = file["source"].astype(np.int64) if "source" in file else None
    except (KeyError, ValueError, EOFError) as error:
        raise InputError(f"{path} should hold the arrays data and inds as ViPE writes them ({error})") from None
    if inds.shape != data.shape[:1] or not (source is None or source.shape == inds.shape):
        raise InputError(f"{path} has {len(data)} rows of data for {inds.size} frames; run ViPE, or the export, again")
    return data, inds, source


def _picture_size(folder: str, name: str) -> tuple[int, int] | None:
    """Return (width, height) of the film among the artefacts; None if it is missing."""
    import av

    path = os.path.join(folder, "rgb", f"{name}.mp4")
    if not os.path.isfile(path):
        return None
    try:
        with av.open(path) as film:
            stream = film.streams.video[0]
            return stream.codec_context.width, stream.codec_context.height
    except (av.FFmpegError, IndexError) as error:
        raise InputError(
            f"{path} cannot be read ({error}), which tells the size that ViPE's intrinsics hold for"
        ) from None


# TUM


def _read_tum(path: str) -> CameraFile:
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8-sig").splitlines(), start=1):
        parts = line.split("#")[0].replace(",", " ").split()
        if not parts:
            continue
        try:
            rows.append([float(part) for part in parts])
        except ValueError:
            rows.append([])
        if len(rows[-1]) != 8 or not np.isfinite(rows[-1]).all():
            raise InputError(
                f"{path}, line {number}: expected eight numbers, timestamp tx ty tz qx qy qz qw of the camera in the "
                f"world (TUM); found {line.strip()[:60]!r}"
            )
    table = np.array(rows).reshape(-1, 8)
    if len(table) and (np.diff(table[:, 0]) <= 0).any():
        at = int(np.flatnonzero(np.diff(table[:, 0]) <= 0)[0]) + 1
        raise InputError(f"{path}: time {table[at, 0]:g} s comes after {table[at - 1, 0]:g} s; times should rise")
    length = np.linalg.norm(table[:, 4:], axis=1)
    if (np.abs(length - 1) > _SKEWED).any():
        at = int(np.abs(length - 1).argmax())
        raise InputError(f"{path}: the quaternion at {table[at, 0]:g} s has length {length[at]:.3g}, expected 1")
    world_from_cam = np.tile(np.eye(4), (len(table), 1, 1))
    world_from_cam[:, :3, :3] = _rotations(table[:, 4:] / length[:, None])
    world_from_cam[:, :3, 3] = table[:, 1:4]
    return CameraFile("TUM trajectory", invert(world_from_cam), time=table[:, 0])


def _rotations(xyzw: np.ndarray) -> np.ndarray:
    """Return the rotation matrices (N, 3, 3) of unit quaternions (N, 4): x, y, z, w."""
    x, y, z, w = xyzw.T
    rows = [
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


# GeoFlow stores


def _read_store(path: str) -> CameraFile:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "geoflow_schema" not in file.attrs or "camera/cam_from_world" not in file:
                raise InputError(
                    f"{path} is no GeoFlow store with cameras; give one of a pipeline with the slot camera"
                )
            poses, valid, intrinsics = (
                file[f"camera/{name}"][()] for name in ("cam_from_world", "valid", "intrinsics")
            )
            posed = valid & np.isfinite(poses).all((1, 2))
            attributes = file.attrs
            return CameraFile(
                "GeoFlow store",
                _rigid(poses[posed], path),
                number=once(file["frames/index"][()][posed], path),
                intrinsics=intrinsics[posed].astype(np.float64),
                size=(int(attributes["width"]), int(attributes["height"])),
                metric=bool(attributes["metric"]),
                source_sha256=str(attributes["source_sha256"]),
            )
    except (OSError, KeyError) as error:
        raise InputError(f"{path} is no whole GeoFlow store ({error}); write it again with `geoflow run`") from None
