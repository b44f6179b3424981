"""Decoding chosen frames of a video file: seek to a key frame, decode on from there, keep what was asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import av
import numpy as np

from geoflow.errors import InputError
from geoflow.video import images, orient
from geoflow.video.container import DAMAGED, carries_times, open_video, packet_stamps
from geoflow.video.decoder import configure, decoded
from geoflow.video.frame_table import frames_listed
from geoflow.video.integrity import look_over
from geoflow.video.source import SourceIndex, file_sha256
from geoflow.video.table_cache import frame_table
from geoflow.video.times import frame_times

_STEPS_BACK = (0.0, 2.0, 20.0, None)  # seconds before the wanted frame to start from; None: the beginning


def index_file(path: str) -> SourceIndex:
    """Every frame of a video file, from its packets alone where they tell; of those, little is decoded.

    Where packets and frames differ, or time stamps are wanting, the decoder's frames are listed, once.

    Raises InputError for files that are not video, hold no video stream, are not whole, or show nothing.
    """
    state = look_over(path)
    if state.missing:
        raise InputError(f"{path} is cut off: {state.missing}; {DAMAGED}")
    container, stream = open_video(path)
    with container:
        stamps, damaged, remarks = packet_stamps(container, stream, path)
        base = float(stream.time_base)
        rate = float(stream.guessed_rate or stream.average_rate or 25)
        timed = carries_times(container)
    first, sha256 = _first_frame(path), file_sha256(path)
    notes, seek = (*state.notes, *remarks), None
    if stamps is None or first.pts is None or not timed:
        table = frame_table(path, sha256)
        time, mended = frame_times(table.stamps, base, rate)
        pts, seek, notes = np.full(len(time), -1, np.int64), table.seek, (*notes, *mended)
    else:
        # Pictures before the first decodable one (a recording that starts between key frames) can never be shown.
        pts = stamps[stamps >= first.pts]
        time = (pts - pts[0]) * base
        bad = damaged[damaged >= first.pts]
        if len(bad):
            raise InputError(f"{path} is damaged {(bad[0] - pts[0]) * base:.2f} s after its start; {DAMAGED}")
    size = first.turn.swap(*_square_pixels(first.height, first.width, first.aspect))
    return SourceIndex(sha256, pts, time, *size, rotation=first.turn.rotation, seek=seek, notes=notes)


def read_frames(
    path: str,
    index: np.ndarray,
    pts: np.ndarray | None,
    out: np.ndarray,
    source_size: tuple[int, int],
    threads: int = 1,
    seek: tuple[np.ndarray, int] | None = None,
) -> None:
    """Fill `out` (T, H, W, 3) uint8 RGB with the frames of time stamps `pts` (T), numbers `index` (T).

    Both rise. Files without usable stamps have `seek` instead of `pts`: the rows of a frame table, and which is the
    first to read. `source_size` is (height, width) as displayed. Raises InputError that names file and frame.
    """
    first = _first_frame(path)
    turn = first.turn
    if seek is not None:
        frames = frames_listed(path, seek[0], seek[1], seek[1] + len(index), threads)
    else:
        assert pts is not None
        frames = _frames_at(path, pts, threads)
    done = 0
    for frame in frames:
        found = turn.swap(*_square_pixels(frame.height, frame.width, first.aspect))
        if found != source_size:
            raise InputError(
                f"frame {index[done]} of {path} is {found[1]}x{found[0]}, but the first is "
                f"{source_size[1]}x{source_size[0]}; cut the video where its size changes"
            )
        image = frame.to_ndarray(format="rgb24", threads=threads)
        out[done] = turn.apply(images.resize(image, *turn.swap(*out.shape[1:3])))
        done += 1
    if done < len(index):
        raise InputError(f"frame {index[done]} of {path} cannot be decoded: the file is damaged there; {DAMAGED}")


def _frames_at(path: str, pts: np.ndarray, threads: int) -> Iterator[Any]:
    """Yield the frames with these time stamps; ends early when one cannot be had.

    A seek may land on a key frame that does not suffice (open GOPs, containers without an index), so what is missing
    is tried again from further back before it is given up.
    """
    done = 0
    for seconds in _STEPS_BACK:
        container, stream = open_video(path)
        with container:
            configure(stream, threads)
            if seconds is not None and pts[done] > 0:
                offset = int(pts[done] - seconds / float(stream.time_base))
                try:
                    container.seek(offset, stream=stream)
                except av.error.FFmpegError:
                    continue  # this container cannot seek there
            for frame, sound in decoded(container, stream):
                if frame.pts is None or frame.pts < pts[done]:
                    continue
                if frame.pts > pts[done] or not sound:
                    break
                yield frame
                done += 1
                if done == len(pts):
                    return


@dataclass(frozen=True)
class _FirstFrame:
    """What only decoding tells of a file, and holds for all of it. Sizes are as stored."""

    pts: int | None
    height: int
    width: int
    aspect: float  # width over height of a stored pixel
    turn: orient.Orientation


def _first_frame(path: str) -> _FirstFrame:
    status = os.stat(path)
    return _decode_first(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _decode_first(path: str, size: int, mtime_ns: int) -> _FirstFrame:
    """Size and date are part of the key, so that a changed file is read anew.

    Asking a frame for its side data ties it into a reference cycle, which keeps its pixels until the next garbage
    collection; so one frame per file is asked, not every one.
    """
    container, stream = open_video(path)
    with container:
        for frame, sound in decoded(container, stream):
            if sound:
                aspect = float(stream.sample_aspect_ratio or 1)
                aspect = aspect if 0.25 <= aspect <= 4 else 1.0  # nonsense in the header
                return _FirstFrame(frame.pts, frame.height, frame.width, aspect, orient.of_frame(frame))
    raise InputError(f"{path} opens as a video, but not one frame of it can be decoded; {DAMAGED}")


def _square_pixels(height: int, width: int, aspect: float) -> tuple[int, int]:
    """The size with square pixels: the longer pixel side is stretched, so no detail is lost."""
    return (height, round(width * aspect)) if aspect >= 1 else (round(height / aspect), width)
