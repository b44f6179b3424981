"""Pixels of a probed video, a segment at a time: memory depends on the frames asked for, not on the video's length."""

from __future__ import annotations

import os
from functools import lru_cache

import numpy as np

from geoflow.errors import InputError
from geoflow.segments import VideoInfo
from geoflow.video import decoding, folder, images
from geoflow.video.cursor import Cursors, Places
from geoflow.video.fetched import local_path
from geoflow.video.frame_table import Rows
from geoflow.video.identity import unchanged
from geoflow.video.sequence import list_images
from geoflow.video.source import SourceIndex, check_readable
from geoflow.video.table_cache import frame_table

_CURSORS = Cursors(idle_s=20.0)  # for `read_numbered`: an export reads a film in many calls, one after the other


def read_frames(
    info: VideoInfo,
    index: np.ndarray,
    pts: np.ndarray,
    start: int,
    stop: int,
    *,
    seek: np.ndarray | None = None,
    threads: int = 1,
    cursors: Cursors | None = None,
    share: int | None = None,
) -> np.ndarray:
    """Read frames [start, stop) of the processed video: (T, H, W, 3) uint8 RGB, upright, `info.height` x `info.width`.

    `index`, `pts` and, if there is one, `seek` are `video.index`, `video.pts` and `video.seek` of the whole video, as
    `probe` returned them. Without `seek`, the table of a file that needs one is taken from the cache, or made again.
    With `cursors`, reading goes on where it stopped; `share` is the number of these frames that the next call reads
    too, None if there is no next call.

    Raises InputError that names file and frame if one cannot be decoded, and SourceChanged if the source is not the one
    that was probed.
    """
    path = local_path(info.source, info.source_sha256)
    check_readable(path)
    out = np.empty((stop - start, info.height, info.width, 3), np.uint8)
    if stop <= start:
        return out
    wanted, size = index[start:stop], (info.source_height, info.source_width)
    pictures = _pictures(path, wanted, info.pattern)
    with unchanged(info.source, path, info.source_sha256, info.source_identity, pictures):
        if os.path.isdir(path):
            folder.read_frames(path, wanted, out, size, info.pattern)
        else:
            places: Places
            if (pts == -1).all():  # in the whole video: a single stamp of -1 may be real
                rows = frame_table(path, info.source_sha256, info.stream).seek[index] if seek is None else seek
                places = Rows(path, info.stream, rows, start, threads)
            else:
                places = decoding.Stamps(path, info.stream, pts[start:stop], threads)
            decoding.read_frames(path, wanted, places, out, size, threads, info.stream, cursors, share)
    return out


def _pictures(path: str, numbers: np.ndarray, pattern: str | None) -> list[str] | None:
    """Return the pictures of a frame folder that have these numbers and exist; None for a file."""
    if not os.path.isdir(path):
        return None
    paths = list_images(path, pattern)
    return [paths[i] for i in numbers if i < len(paths)]


def read_masks(info: VideoInfo, index: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Read the user's masks for frames [start, stop): (T, H, W) bool, True where the frame must be ignored.

    Raises InputError for a mask that is missing, unreadable, or of the wrong shape.
    """
    if info.masks is None:
        raise InputError(f"{info.name} was given no masks; give their folder with --masks")
    return folder.read_masks(info.masks, index[start:stop], info)


def read_numbered(
    source: str,
    numbers: np.ndarray,
    size: tuple[int, int],
    *,
    stream: int | None = None,
    pattern: str | None = None,
    sha256: str = "",
    identity: str = "",
) -> np.ndarray:
    """Read frames of a source by their rising numbers (T,) int (`frames/index` of a store): (T, H, W, 3) uint8 RGB.

    `size` is (width, height). `stream` and `pattern` are as in `ReadOptions`. `sha256` and `identity` are of the source
    that the numbers belong to. The first call for a file reads the whole file once to list its frames.

    Raises InputError if the source or a frame is missing, SourceChanged if the source has other content.
    """
    path = local_path(source, sha256)
    check_readable(path)
    with unchanged(source, path, sha256, identity):
        return _numbered(source, path, numbers, size, stream, pattern)


def _numbered(
    source: str, path: str, numbers: np.ndarray, size: tuple[int, int], stream: int | None, pattern: str | None
) -> np.ndarray:
    out = np.empty((len(numbers), size[1], size[0], 3), np.uint8)
    if not len(numbers):
        return out
    if os.path.isdir(path):
        paths = list_images(path, pattern)
        _check_numbers(source, numbers, len(paths), "pictures")
        for row, number in zip(out, numbers):
            picture = images.decode_rgb(images.read_bytes(paths[number]), paths[number])
            row[:] = images.resize(picture, size[1], size[0])
        return out
    status = os.stat(path)
    found = _index_of(path, stream, status.st_size, status.st_mtime_ns)
    _check_numbers(source, numbers, len(found.pts), "frames")
    size_there, number = (found.height, found.width), found.stream
    places: Places
    if found.seek is None:
        places = decoding.Stamps(path, number, found.pts[numbers], threads=1)
    else:
        places = Rows(path, number, found.seek[numbers], 0, threads=1)
    share = 0 if numbers[-1] + 1 < len(found.pts) else None
    decoding.read_frames(path, numbers, places, out, size_there, 1, number, _CURSORS, share)
    return out


def _check_numbers(source: str, numbers: np.ndarray, count: int, what: str) -> None:
    if len(wrong := numbers[(numbers < 0) | (numbers >= count)]):
        raise InputError(f"{source} has no frame {wrong[0]}: it holds {count} {what}")


@lru_cache(maxsize=4)
def _index_of(path: str, stream: int | None, size: int, mtime_ns: int) -> SourceIndex:
    """List the frames of a file. Size and date are part of the cache's key, so that a changed file is read again."""
    return decoding.index_file(path, stream)
