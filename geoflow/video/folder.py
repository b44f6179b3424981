"""Frame folders and mask folders: pictures in natural order."""

from __future__ import annotations

import hashlib
import os
from typing import NoReturn

import numpy as np

from geoflow.errors import InputError
from geoflow.files.hashing import add_picture
from geoflow.segments import VideoInfo
from geoflow.video import images
from geoflow.video.aperture import Aperture
from geoflow.video.sequence import check_kinds, check_names, list_images
from geoflow.video.source import FOLDER_FPS, SourceIndex
from geoflow.video.stated_focal import focal_35_of_picture, focal_35_of_pictures


def index_folder(folder: str, fps: float | None, pattern: str | None = None) -> SourceIndex:
    """List the frames of a folder. Every header is read, so that a picture of another size is found at once.

    Raises InputError for a folder without pictures (that match `pattern`), for an unreadable picture, and for pictures
    of different sizes, names or kinds, which cannot be one film.
    """
    paths = list_images(folder, pattern)
    if not paths:
        _no_pictures(folder, pattern)
    names = [os.path.basename(path) for path in paths]
    check_names(folder, names, chosen=pattern is not None)
    kinds, focal_35 = [], []
    digest = hashlib.sha256()
    first: tuple[int, int] | None = None
    for path in paths:
        data = images.read_bytes(path)
        add_picture(digest, path, data)
        size = images.upright_size(data, path)
        kinds.append(images.kind(data))
        focal_35.append(focal_35_of_picture(data))
        if first is None:
            first = size
        _same_size(size, first, path, paths[0])
    assert first is not None
    check_kinds(folder, names, kinds)
    count = len(paths)
    time = np.arange(count, dtype=np.float64) / (fps or FOLDER_FPS)
    stamps = np.full(count, -1, np.int64)
    return SourceIndex(digest.hexdigest(), stamps, time, *first, focal_35=focal_35_of_pictures(focal_35))


def _no_pictures(folder: str, pattern: str | None) -> NoReturn:
    if pattern is not None and (others := list_images(folder)):
        names = ", ".join(os.path.basename(path) for path in others[:3])
        raise InputError(f"{folder} holds no picture that matches --pattern '{pattern}'; its pictures are {names}, ...")
    raise InputError(f"{folder} holds no pictures (png, jpg, webp, bmp, tif) to use as frames; check the folder")


def read_frames(
    folder: str, indices: np.ndarray, out: np.ndarray, source_size: tuple[int, int], pattern: str | None = None
) -> None:
    """Fill `out` (T, H, W, 3) uint8 RGB with pictures number `indices`, among those that match `pattern`."""
    paths = list_images(folder, pattern)
    for k, i in enumerate(indices):
        if i >= len(paths):
            raise InputError(f"frame {i} of {folder} is missing: the folder holds {len(paths)} pictures now; run again")
        picture = images.decode_rgb(images.read_bytes(paths[i]), paths[i])
        _same_size(picture.shape[:2], source_size, paths[i], "the others")
        out[k] = images.resize(picture, *out.shape[1:3])


def _same_size(found: tuple[int, ...], expected: tuple[int, int], path: str, other: str) -> None:
    if found != expected:
        raise InputError(
            f"{path} is {found[1]}x{found[0]}, but {other} is {expected[1]}x{expected[0]}; "
            "all frames of a folder should have the same size: resize or remove it, or choose with --pattern GLOB"
        )


def check_masks(folder: str, num_source_frames: int) -> str:
    """Return the SHA-256 of the masks in `folder`.

    Raises InputError unless it holds one mask per frame of the source.
    """
    paths = one_per_frame(folder, num_source_frames, "mask", "--masks")
    digest = hashlib.sha256()
    for path in paths:
        data = images.read_bytes(path)
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()


def one_per_frame(folder: str, num_source_frames: int, what: str, option: str) -> list[str]:
    """The pictures of a folder that goes with a video. Raises InputError unless there is one per frame of the source.

    `what` is what each picture is called, `option` the one that the folder was given with.
    """
    if not os.path.isdir(folder):
        raise InputError(
            f"{folder} should hold this video's {what}s, but is not a folder; make it, or leave out {option}"
        )
    paths = list_images(folder)
    count = len(paths)
    if count != num_source_frames:
        raise InputError(
            f"{folder} holds {count} {what}s, but the video has {num_source_frames} frames; "
            f"one {what} per frame of the source is needed, in natural order"
        )
    return paths


def read_masks(folder: str, indices: np.ndarray, video: VideoInfo) -> np.ndarray:
    """Read the masks numbered `indices`: (T, H, W) bool, True where the picture is not zero; resized as the frames are.

    Raises InputError for a mask that cannot be read, or that has neither the proportions of the source as displayed
    (with its own or square pixels) nor those of the processed frames.
    """
    height, width = video.height, video.width
    paths = list_images(folder)
    out = np.empty((len(indices), height, width), bool)
    for k, i in enumerate(indices):
        if i >= len(paths):
            raise InputError(f"mask {i} of {folder} is missing: the folder holds {len(paths)} masks now; run again")
        mask = images.decode_mask(images.read_bytes(paths[i]), paths[i])
        out[k] = images.resize_mask(as_displayed(mask, paths[i], video, "mask"), height, width)
    return out


def as_displayed(picture: np.ndarray, path: str, video: VideoInfo, what: str) -> np.ndarray:
    """A mask or a label image (H, W) that goes with a frame, cropped as the frames are.

    Raises InputError for one that fits neither the source as displayed nor the processed frames.
    """
    check_fits(picture.shape[0], picture.shape[1], path, video, what)
    if video.cropped is not None and picture.shape == video.cropped[:2]:  # made from pictures that were not cropped
        picture = Aperture(video.cropped[:2], *video.cropped[2:]).cut(picture)
    return picture


def check_fits(height: int, width: int, path: str, video: VideoInfo, what: str) -> None:
    """Raise InputError for a picture of a size that fits neither the source nor the processed frames."""
    if video.cropped is not None and (height, width) == video.cropped[:2]:
        return
    if not _fits(height, width, video):
        raise InputError(
            f"{path} is {width}x{height}, which fits neither the source of "
            f"{video.source_width}x{video.source_height} as displayed nor frames of {video.width}x{video.height}; "
            f"{what}s should show the frames as displayed"
        )


def _fits(height: int, width: int, video: VideoInfo) -> bool:
    """Return whether the proportions fit. Most masks that do not fit lie on their side."""
    proportion, source = width / height, video.source_width / video.source_height
    shown = (source, source / video.pixel_aspect, video.width / video.height)
    return any(0.9 < proportion / other < 1.1 for other in shown)
