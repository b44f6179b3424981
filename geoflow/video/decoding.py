"""Decoding chosen frames of a video file: seek to a key frame, decode on from there, keep what was asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import av
import numpy as np

from geoflow.errors import InputError
from geoflow.video import colour, interlace, orient
from geoflow.video.aperture import stated_aperture
from geoflow.video.container import DAMAGED, carries_times, open_video, packet_stamps
from geoflow.video.decoder import configure, decoded
from geoflow.video.frame_table import frames_listed
from geoflow.video.integrity import look_over
from geoflow.video.shown import Shown
from geoflow.video.source import SourceIndex, file_sha256
from geoflow.video.streams import note_on_choice
from geoflow.video.table_cache import frame_table
from geoflow.video.times import frame_times

_LOOKED_AT = 8  # frames: film that is interlaced in part most often starts so
_STEPS_BACK = (0.0, 2.0, 20.0, None)  # seconds before the wanted frame to start from; None: the beginning


def index_file(path: str, stream_number: int | None = None) -> SourceIndex:
    """Every frame of a video file, from its packets alone where they tell; of those, little is decoded.

    Where packets and frames differ, or time stamps are wanting, the decoder's frames are listed, once.
    `stream_number` chooses among several video streams.

    Raises InputError for files that are not video, hold no such video stream, are not whole, or show nothing.
    """
    state = look_over(path)
    if state.missing:
        raise InputError(f"{path} is cut off: {state.missing}; {DAMAGED}")
    container, stream = open_video(path, stream_number)
    with container:
        number = stream.index
        stamps, damaged, remarks = packet_stamps(container, stream, path)
        base = float(stream.time_base)
        rate = float(stream.guessed_rate or stream.average_rate or 25)
        timed = carries_times(container)
    first, sha256 = _first_frame(path, number), file_sha256(path)
    notes, seek = (*state.notes, *remarks), None
    if stamps is None or first.pts is None or not timed:
        table = frame_table(path, sha256, number)
        time, mended = frame_times(table.stamps, base, rate)
        pts, seek, notes = np.full(len(time), -1, np.int64), table.seek, (*notes, *mended)
    else:
        # Pictures before the first decodable one (a recording that starts between key frames) can never be shown.
        pts = stamps[stamps >= first.pts]
        time = (pts - pts[0]) * base
        bad = damaged[damaged >= first.pts]
        if len(bad):
            raise InputError(f"{path} is damaged {(bad[0] - pts[0]) * base:.2f} s after its start; {DAMAGED}")
    return SourceIndex(
        sha256,
        pts,
        time,
        *first.size,
        rotation=first.shown.turn.rotation,
        pixel_aspect=first.pixel_aspect,
        stream=number,
        cropped=first.shown.cropped,
        seek=seek,
        notes=(*_notes(path, number, first, chosen=stream_number is not None), *notes),
    )


def _notes(path: str, number: int, first: _FirstFrame, *, chosen: bool) -> tuple[str, ...]:
    """How the pictures are read, where that is not as one would expect."""
    container, stream = open_video(path, number)
    with container:
        notes = [None if chosen else note_on_choice(container, stream), *first.notes, first.shown.signal.note()]
        notes.append(interlace.note(stream, (frame for frame, _ in islice(decoded(container, stream), _LOOKED_AT))))
    return tuple(note for note in notes if note)


def read_frames(
    path: str,
    index: np.ndarray,
    pts: np.ndarray | None,
    out: np.ndarray,
    source_size: tuple[int, int],
    threads: int = 1,
    seek: tuple[np.ndarray, int] | None = None,
    stream_number: int | None = None,
) -> None:
    """Fill `out` (T, H, W, 3) uint8 RGB with the frames of time stamps `pts` (T), numbers `index` (T).

    Both rise. Files without usable stamps have `seek` instead of `pts`: the rows of a frame table, and which is the
    first to read. `source_size` is (height, width) as displayed, `stream_number` that of `SourceIndex.stream`. Raises
    InputError that names file and frame.
    """
    shown, fields = _first_frame(path, stream_number).shown, interlace.FieldPicker()
    if seek is not None:
        frames = frames_listed(path, seek[0], seek[1], seek[1] + len(index), threads, stream_number)
    else:
        assert pts is not None
        frames = _frames_at(path, pts, threads, stream_number)
    height, width = out.shape[1:3]
    done = 0
    for frame in frames:
        found = shown.size(frame)
        if found != source_size:
            raise InputError(
                f"frame {index[done]} of {path} is {found[1]}x{found[0]}, but the first is "
                f"{source_size[1]}x{source_size[0]}; cut the video where its size changes"
            )
        out[done] = shown.picture(frame, height, width, threads, fields)
        done += 1
    if done < len(index):
        raise InputError(f"frame {index[done]} of {path} cannot be decoded: the file is damaged there; {DAMAGED}")


def _frames_at(path: str, pts: np.ndarray, threads: int, stream_number: int | None) -> Iterator[Any]:
    """Yield the frames with these time stamps; ends early when one cannot be had.

    A seek may land on a key frame that does not suffice (open GOPs, containers without an index), so what is missing
    is tried again from further back before it is given up.
    """
    done = 0
    for seconds in _STEPS_BACK:
        container, stream = open_video(path, stream_number)
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
    """What only decoding tells of a stream, and holds for all of it."""

    pts: int | None
    size: tuple[int, int]  # (height, width) as displayed
    shown: Shown
    notes: tuple[str, ...]

    @property
    def pixel_aspect(self) -> float:
        """Width over height of a stored pixel in the upright picture."""
        return 1 / self.shown.aspect if self.shown.turn.transposed else self.shown.aspect


def _first_frame(path: str, stream_number: int | None) -> _FirstFrame:
    status = os.stat(path)
    return _decode_first(path, stream_number, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _decode_first(path: str, stream_number: int | None, size: int, mtime_ns: int) -> _FirstFrame:
    """Size and date are part of the key, so that a changed file is read anew.

    Asking a frame for its side data ties it into a reference cycle, which keeps its pixels until the next garbage
    collection; so one frame per file is asked, not every one.
    """
    container, stream = open_video(path, stream_number)
    with container:
        for frame, sound in decoded(container, stream):
            if not sound:
                continue
            signal = colour.signal_of(frame)
            if (reason := colour.unreadable(signal, frame)) is not None:
                raise InputError(f"{path} cannot be shown in its colours: {reason}; export it as SDR, HLG or HDR10")
            aperture, note = stated_aperture(container, stream, path, (frame.height, frame.width))
            aspect = float(stream.sample_aspect_ratio or 1)
            if aperture is not None and aperture.aspect is not None:
                aspect = aperture.aspect
            aspect = aspect if 0.25 <= aspect <= 4 else 1.0  # nonsense in the header
            shown = Shown(signal, orient.of_frame(frame), aspect, aperture, interlace.in_frames(stream))
            return _FirstFrame(frame.pts, shown.size(frame), shown, (note,) if note else ())
    raise InputError(f"{path} opens as a video, but not one frame of it can be decoded; {DAMAGED}")
