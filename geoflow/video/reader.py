"""Pixels of a probed video, a segment at a time: memory is bounded by what is asked for, not by the video."""

from __future__ import annotations

import os
from functools import lru_cache

import numpy as np

from geoflow.errors import InputError
from geoflow.segments import VideoInfo
from geoflow.video import decoding, folder, images
from geoflow.video.source import SourceIndex, check_readable, list_images, local_path


def read_frames(
    info: VideoInfo, index: np.ndarray, pts: np.ndarray, start: int, stop: int, *, threads: int = 1
) -> np.ndarray:
    """Frames [start, stop) of the processed video: (T, H, W, 3) uint8 RGB, upright, `info.height` x `info.width`.

    `index` and `pts` are `video.index` and `video.pts` of the whole video, as `probe` gave them.

    Raises InputError that names file and frame when one cannot be decoded.
    """
    path = local_path(info.source)
    check_readable(path)
    out = np.empty((stop - start, info.height, info.width, 3), np.uint8)
    if stop <= start:
        return out
    wanted, size = index[start:stop], (info.source_height, info.source_width)
    if os.path.isdir(path):
        folder.read_frames(path, wanted, out, size)
    else:
        counted = bool((pts == -1).all())  # of the whole video: a single stamp of -1 may be a real one
        decoding.read_frames(path, wanted, None if counted else pts[start:stop], out, size, threads)
    return out


def read_masks(info: VideoInfo, index: np.ndarray, start: int, stop: int) -> np.ndarray:
    """The user's masks for frames [start, stop): (T, H, W) bool, True where the frame must be ignored.

    Raises InputError for a mask that is missing, unreadable, or of another shape than the frames.
    """
    if info.masks is None:
        raise InputError(f"{info.name} was given no masks; give their folder with --masks")
    return folder.read_masks(info.masks, index[start:stop], info.height, info.width)


def read_single(source: str, source_index: int, size: tuple[int, int]) -> np.ndarray:
    """One frame of a source by its number there (`frames/index` of a store): (H, W, 3) uint8 RGB.

    `size` is (width, height). For reports: the first call for a file reads it through once to list its frames.

    Raises InputError when the source or the frame is gone.
    """
    path = local_path(source)
    check_readable(path)
    out = np.empty((1, size[1], size[0], 3), np.uint8)
    if os.path.isdir(path):
        paths = list_images(path)
        if not 0 <= source_index < len(paths):
            raise InputError(f"{source} has no frame {source_index}: it holds {len(paths)} pictures")
        picture = images.decode_rgb(images.read_bytes(paths[source_index]), paths[source_index])
        return images.resize(picture, size[1], size[0])
    status = os.stat(path)
    found = _index_of(path, status.st_size, status.st_mtime_ns)
    if not 0 <= source_index < len(found.pts):
        raise InputError(f"{source} has no frame {source_index}: it holds {len(found.pts)} frames")
    number = np.array([source_index])
    pts = None if (found.pts == -1).all() else found.pts[number]
    decoding.read_frames(path, number, pts, out, (found.height, found.width))
    return out[0]


@lru_cache(maxsize=4)
def _index_of(path: str, size: int, mtime_ns: int) -> SourceIndex:
    """Size and date are part of the key, so that a changed file is read anew."""
    return decoding.index_file(path)
