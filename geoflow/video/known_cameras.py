"""Known cameras of the frames that are processed: which frame has which pose, and intrinsics in its pixels.

A frame without a pose in the file has no pose: none is estimated or interpolated.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoflow.errors import InputError
from geoflow.geometry.cameras import pinhole_matrix, resize_intrinsics
from geoflow.geometry.lens_distortion import bends_back
from geoflow.video import camera_files
from geoflow.video.camera_files import CameraFile
from geoflow.video.fetched import local_path
from geoflow.video.lens import Distortion, Pinhole
from geoflow.video.options import ReadOptions
from geoflow.video.sequence import list_images
from geoflow.video.source import SourceIndex

_SAME_SHAPE = 0.02  # relative difference of proportions: sizes are rounded to pixels
_SAME_PX = 1e-3  # intrinsics that differ by less (px, or a share of the focal length) belong to one camera
_SAID = 0.01  # of the focal length: if two statements differ by more, a note says so


@dataclass(frozen=True)
class KnownCameras:
    """Cameras of the F frames that are processed; pixels are those of the processed frames."""

    cam_from_world: np.ndarray  # (F, 4, 4) float64, after `scale`; NaN where the file has no pose
    intrinsics: np.ndarray  # (F, 3, 3) float64 px; NaN where unknown
    pinhole: Pinhole | None  # set if it is the same in all frames
    distortion: Distortion | None
    metric: bool  # the unit of the poses is the metre
    sha256: str  # of all values above
    notes: tuple[str, ...] = ()


def check_lens(pinhole: Pinhole, distortion: Distortion | None, size: tuple[int, int], where: str) -> None:
    """Raise InputError for a distortion that folds the picture, `size` is (width, height): no lens does."""
    if distortion is not None and not bends_back(pinhole, distortion, *size):
        numbers = ", ".join(f"{value:g}" for value in distortion)
        raise InputError(
            f"{where}: the distortion k1, k2, p1, p2, k3 = {numbers} folds pictures of {size[0]}x{size[1]}, so that a "
            "pixel has no ray of its own; are these OpenCV's coefficients, and the intrinsics in pixels of this video?"
        )


def known_cameras(
    name: str,
    source: str,
    options: ReadOptions,
    found: SourceIndex,
    keep: np.ndarray,
    size: tuple[int, int],
    pinhole: Pinhole | None,
) -> KnownCameras:
    """Read the cameras that `options` name for the video `name`, and assign them to frames.

    `found` are the source's frames, `keep` (F,) the numbers of the processed frames, and `size` their (width, height).
    `pinhole` is the camera that the user states with --intrinsics, in processed pixels: it overrides the file.

    Raises InputError, with the name of the file, for cameras that cannot be read or cannot belong to this video.
    """
    assert options.cameras is not None
    path = camera_files.find(options.cameras, name)
    if path is None:
        raise InputError(
            f"--cameras {options.cameras} holds nothing for the video {name}: expected {name}.txt (TUM), {name}.h5 "
            f"(GeoFlow), pose/{name}.npz (ViPE), or a folder {name} with one of these or a COLMAP model"
        )
    given = camera_files.read(path, name)
    if given.metric and options.scale not in (None, 1.0):
        raise InputError(f"{path} ({given.kind}) states metres already; leave out --scale {options.scale:g}")
    pictures = list_images(where, options.pattern) if os.path.isdir(where := local_path(source)) else []
    at_time = given.time is not None
    row = _rows_by_time(given, path, pictures, found, keep) if at_time else _rows(given, path, pictures, found, keep)
    posed = row >= 0
    if not posed.any():
        raise InputError(f"{path} ({given.kind}) has no pose for any of the {len(keep)} frames that are processed")
    poses = np.full((len(keep), 4, 4), np.nan)
    poses[posed] = given.cam_from_world[row[posed]]
    poses[:, :3, 3] *= options.scale or 1.0
    intrinsics = np.full((len(keep), 3, 3), np.nan)
    stated = given.intrinsics is not None and (given.size is not None or pinhole is None)
    if stated:
        assert given.intrinsics is not None
        intrinsics[posed] = _in_processed(given.intrinsics[row[posed]], given, path, found, size)
    notes = list(_notes(given, path, found, keep, posed))
    distortion = given.distortion
    if pinhole is not None:
        notes += _overruled(given, path, intrinsics, pinhole, options.distortion)
        distortion = options.distortion
    else:
        pinhole = _common(intrinsics)
    if pinhole is not None:
        intrinsics[:] = pinhole_matrix(*pinhole)
    if not np.isfinite(intrinsics[posed]).any():
        raise InputError(
            f"{path} ({given.kind}) has poses, but no intrinsics that say where a pixel looks; add --intrinsics"
        )
    metric = options.scale is not None or given.metric
    return KnownCameras(poses, intrinsics, pinhole, distortion, metric, _digest(poses, intrinsics), tuple(notes))


def _rows(given: CameraFile, path: str, pictures: list[str], found: SourceIndex, keep: np.ndarray) -> np.ndarray:
    """Return the row of the file for each processed frame, (F,) int64; -1 if it has none."""
    count = len(found.time)
    places = {os.path.basename(picture): i for i, picture in enumerate(pictures)}
    numbers = np.array([places.get(os.path.basename(name), -1) for name in given.names], np.int64)
    if numbers.max(initial=-1) < 0:  # not a frame folder, or other names
        stated = given.number
        numbers = _in_names(given.names, path) if stated is None else stated
    camera_files.once(numbers[numbers >= 0], path)
    if numbers.max() >= count:
        raise InputError(
            f"{path} ({given.kind}) has a pose of frame {numbers.max()}, the video has the frames 0 to {count - 1}; is "
            "it of this video, and are frames counted from 0?"
        )
    row = np.full(count, -1, np.int64)
    row[numbers[numbers >= 0]] = np.flatnonzero(numbers >= 0)
    return row[keep]


def _in_names(names: Sequence[str], path: str) -> np.ndarray:
    return np.array([camera_files.number_in(name, path) for name in names], np.int64)


def _rows_by_time(
    given: CameraFile, path: str, pictures: list[str], found: SourceIndex, keep: np.ndarray
) -> np.ndarray:
    """Return the rows by time: the pose nearest to a frame, within half of the time between two frames."""
    assert given.time is not None
    named = _picture_times(pictures)
    time = found.time if named is None else named
    half = 0.5 * float(np.median(np.diff(time)))
    first, last = given.time[[0, -1]]
    if last < time[0] - half or first > time[-1] + half:
        raise InputError(
            f"{path} has poses from {first:g} to {last:g} s, but the video's frames are from {time[0]:g} to "
            f"{time[-1]:g} s: its time stamps should be seconds since the first frame"
        )
    wanted = time[keep]
    after = np.searchsorted(given.time, wanted).clip(0, len(given.time) - 1)
    before = (after - 1).clip(0)
    nearest = np.where(np.abs(wanted - given.time[before]) <= np.abs(given.time[after] - wanted), before, after)
    return np.where(np.abs(given.time[nearest] - wanted) <= half * (1 + 1e-6), nearest, -1)


def _picture_times(pictures: list[str]) -> np.ndarray | None:
    """Return the times in the names of a folder's pictures, as in TUM's data sets; None if names are not times."""
    stems = [os.path.splitext(os.path.basename(path))[0] for path in pictures]
    try:
        times = np.array([float(stem) for stem in stems])
    except ValueError:
        return None
    named = bool(stems) and all("." in stem for stem in stems)
    return times if named and np.isfinite(times).all() and (np.diff(times) > 0).all() else None


def _in_processed(
    intrinsics: np.ndarray, given: CameraFile, path: str, found: SourceIndex, size: tuple[int, int]
) -> np.ndarray:
    """Convert intrinsics (N, 3, 3) of the file's pictures to pixels of the processed frames."""
    if given.size is None:
        raise InputError(
            f"{path} ({given.kind}) does not tell the size of the pictures that its intrinsics hold for (rgb/NAME.mp4 "
            "is missing); put it there, or add --intrinsics"
        )
    k, (width, height) = intrinsics.copy(), given.size
    if found.cropped is not None and (height, width) == found.cropped.numbers[:2]:  # of pictures without cropping
        _, _, top, bottom, left, right = found.cropped.numbers
        k[:, 0, 2] -= left
        k[:, 1, 2] -= top
        width, height = right - left, bottom - top
    else:
        check_shape(given.size, found, path)
    return resize_intrinsics(k, size[0] / width, size[1] / height, np.float64)


def check_shape(size: tuple[int, int], found: SourceIndex, where: str) -> None:
    """Raise InputError unless pictures of this (width, height) can show what the source shows."""
    if abs((size[0] * found.height) / (found.width * size[1]) - 1) > _SAME_SHAPE:
        why = "of pictures that were not turned upright" if found.rotation else "of other, or cropped, pictures"
        raise InputError(
            f"{where} is for pictures of {size[0]}x{size[1]}, but the video is shown at {found.width}x{found.height}; "
            f"it may be {why}: what players show is needed"
        )


def _common(intrinsics: np.ndarray) -> Pinhole | None:
    """Return the camera that all known matrices (F, 3, 3) share, within rounding, or None."""
    known = intrinsics[np.isfinite(intrinsics).all((1, 2))]
    if not len(known):
        return None
    middle = np.median(known, axis=0)
    if np.abs(known - middle).max() > max(_SAME_PX, _SAME_PX * middle[0, 0]):
        return None
    return float(middle[0, 0]), float(middle[1, 1]), float(middle[0, 2]), float(middle[1, 2])


def _overruled(
    given: CameraFile, path: str, intrinsics: np.ndarray, pinhole: Pinhole, distortion: Distortion | None
) -> list[str]:
    """Return sentences on what the file says differently from --intrinsics."""
    notes = []
    focal = intrinsics[:, 0, 0]
    if np.isfinite(focal).any() and (off := abs(float(np.nanmedian(focal)) / pinhole[0] - 1)) > _SAID:
        notes.append(
            f"{path} states another focal length than --intrinsics, by {off:.0%}; that of --intrinsics is used"
        )
    if given.distortion is not None and distortion is None:
        notes.append(f"{path} states a lens with distortion, --intrinsics one without; that of --intrinsics is used")
    return notes


def _notes(given: CameraFile, path: str, found: SourceIndex, keep: np.ndarray, posed: np.ndarray) -> list[str]:
    notes = [
        f"the cameras are those of {path} ({given.kind}), which has a pose for {posed.sum()} of {len(keep)} frames"
    ]
    if given.time is None and len(keep) <= keep[-1]:
        notes.append(f"the numbers of frames in {path} were taken as the source's, of whose frames some are left out")
    if given.source_sha256 and found.sha256 and given.source_sha256 != found.sha256:
        notes.append(f"{path} was made from another file than this one; its frames were taken by their numbers")
    return notes


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
