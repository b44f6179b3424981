"""Decode chosen frames of a video file: seek to a key frame, decode from there, keep the frames asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from typing import Any

import av
import numpy as np

from geoflow.errors import InputError
from geoflow.files.hashing import file_sha256
from geoflow.video import colour, interlace, orient
from geoflow.video.aperture import stated_aperture
from geoflow.video.container import DAMAGED, carries_times, open_video, packet_stamps
from geoflow.video.cursor import Cursor, Cursors, Places, Search
from geoflow.video.decoder import Beginning, configure, decoded
from geoflow.video.integrity import look_over
from geoflow.video.shown import Shown
from geoflow.video.source import SourceIndex
from geoflow.video.stated_focal import focal_35_of_video
from geoflow.video.streams import note_on_choice
from geoflow.video.table_cache import frame_table
from geoflow.video.times import frame_times

_LOOKED_AT = 8  # frames: a partly interlaced film mostly starts interlaced
_STEPS_BACK = (0.0, 2.0, 20.0, None)  # seconds before the wanted frame to start from; None: the beginning


def index_file(path: str, stream_number: int | None = None) -> SourceIndex:
    """List every frame of a video file, from its packets alone if they tell; then only a few frames are decoded.

    If packets and frames differ, or time stamps are missing, the whole file is decoded once. `stream_number` chooses
    among several video streams.

    Raises InputError for a file that is not a video, holds no such video stream, is not whole, or shows nothing.
    """
    state = look_over(path)
    if state.missing:
        raise InputError(f"{path} is cut off: {state.missing}; {DAMAGED}")
    if state.broken:
        raise InputError(f"{path} is damaged: {state.broken}; {DAMAGED}")
    container, stream = open_video(path, stream_number)
    with container:
        number = stream.index
        stamps, damaged, remarks = packet_stamps(container, stream, path)
        base = float(stream.time_base)
        rate = float(stream.guessed_rate or stream.average_rate or 25)
        timed = carries_times(container)
        focal_35 = focal_35_of_video(path, container.metadata)
    first, sha256 = _first_frame(path, number), file_sha256(path)
    notes, seek = (*state.notes, *remarks), None
    bad = damaged if first.pts is None else damaged[damaged >= first.pts]
    if len(bad):
        after = (bad[0] - (damaged[0] if first.pts is None else first.pts)) * base
        raise InputError(f"{path} is damaged {after:.2f} s after its start; {DAMAGED}")
    if stamps is None or first.pts is None or not timed:
        table = frame_table(path, sha256, number)
        time, mended = frame_times(table.stamps, base, rate)
        pts, seek, notes = np.full(len(time), -1, np.int64), table.seek, (*notes, *mended)
        left_out = table.left_out
    else:
        # Pictures before the first one that can be decoded (a recording that starts between key frames) cannot be
        # shown.
        pts = stamps[stamps >= first.pts]
        left_out = len(stamps) - len(pts)
        time = (pts - pts[0]) * base
    if left_out:
        notes += (f"The first {left_out} pictures of the file need earlier ones that are missing, and are left out.",)
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
        focal_35=focal_35,
    )


def _notes(path: str, number: int, first: _FirstFrame, *, chosen: bool) -> tuple[str, ...]:
    """Return how the pictures are read where this is not as one would expect, one sentence each."""
    container, stream = open_video(path, number)
    with container:
        notes = [None if chosen else note_on_choice(container, stream), *first.notes, first.shown.signal.note()]
        notes.append(interlace.note(stream, (frame for frame, _ in islice(decoded(container, stream), _LOOKED_AT))))
    return tuple(note for note in notes if note)


def read_frames(
    path: str,
    index: np.ndarray,
    places: Places,
    out: np.ndarray,
    source_size: tuple[int, int],
    threads: int = 1,
    stream_number: int | None = None,
    cursors: Cursors | None = None,
    share: int | None = None,
) -> None:
    """Fill `out` (T, H, W, 3) uint8 RGB with the frames of rising numbers `index` (T,), which `places` finds.

    `source_size` is (height, width) as displayed; `stream_number` is `SourceIndex.stream`. A decoder of `cursors` goes
    on from its place. Unless `share` is None the decoder is kept there, with the last `share` frames.

    Raises InputError that names file and frame.
    """
    shown, fields = _first_frame(path, stream_number).shown, interlace.FieldPicker()
    key = _key(path, stream_number, threads, out)
    search = Search(places, index, None if cursors is None else cursors.take(key, index))
    try:
        done = 0
        while search.cursor is not None and done < len(index) and index[done] <= search.cursor.number:
            out[done] = search.cursor.kept[int(index[done])]
            done += 1
        for frame in search.frames(done) if done < len(index) else ():
            found = shown.size(frame)
            if found != source_size:
                raise InputError(
                    f"frame {index[done]} of {path} is {found[1]}x{found[0]}, but the first is "
                    f"{source_size[1]}x{source_size[0]}; cut the video where its size changes"
                )
            out[done] = shown.picture(frame, out.shape[1], out.shape[2], threads, fields)
            done += 1
        if done < len(index):
            raise InputError(f"frame {index[done]} of {path} cannot be decoded: the file is damaged there; {DAMAGED}")
        if cursors is not None:
            _leave(cursors, key, search, index, out, share)
    finally:
        search.close()


def _leave(cursors: Cursors, key: Any, search: Search, index: np.ndarray, out: np.ndarray, share: int | None) -> None:
    """Keep the decoder for the next frames, with the last `share` pictures; with None nothing is kept."""
    if share is None:
        cursors.close(key)
    elif (cursor := search.release()) is not None:
        last = range(max(0, len(index) - share), len(index))
        cursor.kept = {int(index[k]): out[k].copy() for k in last}
        cursors.give(key, cursor)


def _key(path: str, stream_number: int | None, threads: int, out: np.ndarray) -> tuple[Any, ...]:
    """Return the key of a kept decoder and its pictures: this version of the file, and frames of this form."""
    status = os.stat(path)
    dates = status.st_mtime_ns, status.st_ctime_ns
    return path, status.st_dev, status.st_ino, status.st_size, *dates, stream_number, threads, out.shape[1:]


class Stamps:
    """Finds frames by their rising time stamps `pts` (T,), see `cursor.Places`. Marks are time stamps."""

    ways = len(_STEPS_BACK)

    def __init__(self, path: str, stream_number: int | None, pts: np.ndarray, threads: int) -> None:
        self._path, self._stream, self._pts, self._threads = path, stream_number, pts, threads

    def open(self, k: int, way: int) -> Cursor | None:
        """Return a decoder some seconds before wanted frame k, or at the start; None if there is no seeking."""
        seconds = _STEPS_BACK[way]
        container, stream = open_video(self._path, self._stream)
        configure(stream, self._threads)
        if seconds is not None and self._pts[k] > 0:
            try:
                container.seek(int(self._pts[k] - seconds / float(stream.time_base)), stream=stream)
            except av.error.FFmpegError:
                container.close()
                return None
        packets = container.demux(stream)
        try:
            first = list(islice(packets, 1))
        except (av.error.FFmpegError, OSError):
            first = []
        frames = decoded(container, stream, chain(first, packets))
        return Cursor(container, ((f.pts, f, sound) for f, sound in frames), first[0].pts if first else None)

    def compare(self, mark: int | None, k: int) -> int:
        return -1 if mark is None else int(mark > self._pts[k]) - int(mark < self._pts[k])


@dataclass(frozen=True)
class _FirstFrame:
    """Properties of a stream that only decoding shows; they hold for the whole stream."""

    pts: int | None
    size: tuple[int, int]  # (height, width) as displayed
    shown: Shown
    notes: tuple[str, ...]

    @property
    def pixel_aspect(self) -> float:
        """Return width over height of a stored pixel in the upright picture."""
        return 1 / self.shown.aspect if self.shown.turn.transposed else self.shown.aspect


def _first_frame(path: str, stream_number: int | None) -> _FirstFrame:
    status = os.stat(path)
    return _decode_first(path, stream_number, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _decode_first(path: str, stream_number: int | None, size: int, mtime_ns: int) -> _FirstFrame:
    """Decode the first frame. Size and date are part of the cache's key, so that a changed file is read again.

    Asking a frame for its side data ties it into a reference cycle, which keeps its pixels until the next garbage
    collection. So only one frame per file is asked.
    """
    container, stream = open_video(path, stream_number)
    with container:
        beginning = Beginning(stream)
        packets = beginning.packets(container.demux(stream), lambda packet: packet.pts)
        for frame, sound in decoded(container, stream, packets):
            if not sound:
                beginning.patched(frame.pts)
                continue
            if beginning.is_damaged(frame.pts):
                raise InputError(f"frame 0 of {path} cannot be decoded: the file is damaged there; {DAMAGED}")
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
