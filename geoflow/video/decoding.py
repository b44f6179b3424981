"""Decoding chosen frames of a video file: seek to a key frame, decode on from there, keep what was asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import av
import numpy as np

from geoflow.errors import InputError
from geoflow.video import colour, interlace, orient
from geoflow.video.aperture import stated_aperture
from geoflow.video.container import DAMAGED, open_video, packet_stamps
from geoflow.video.integrity import whats_missing
from geoflow.video.shown import Shown
from geoflow.video.source import SourceIndex, file_sha256
from geoflow.video.streams import note_on_choice

_LOOKED_AT = 8  # frames: film that is interlaced in part most often starts so
_STEPS_BACK = (0.0, 2.0, 20.0, None)  # seconds before the wanted frame to start from; None: the beginning


def index_file(path: str, stream_number: int | None = None) -> SourceIndex:
    """Every frame of a video file, from its packets alone; only the first frame is decoded.

    Streams without usable time stamps are the exception: their frames are counted by decoding them all.
    `stream_number` chooses among several video streams.

    Raises InputError for files that are not video, hold no such video stream, are not whole, or show nothing.
    """
    missing = whats_missing(path)
    if missing:
        raise InputError(f"{path} is cut off: {missing}; {DAMAGED}")
    container, stream = open_video(path, stream_number)
    with container:
        number = stream.index
        stamps, damaged = packet_stamps(container, stream, path)
        base = float(stream.time_base)
        rate = float(stream.guessed_rate or stream.average_rate or 25)
    first = _first_frame(path, number)
    if stamps is None or first.pts is None:
        count = _count_frames(path, number)
        pts, time = np.full(count, -1, np.int64), np.arange(count, dtype=np.float64) / rate
    else:
        # Pictures before the first decodable one (a recording that starts between key frames) can never be shown.
        pts = stamps[stamps >= first.pts]
        time = (pts - pts[0]) * base
        bad = damaged[damaged >= first.pts]
        if len(bad):
            raise InputError(f"{path} is damaged {(bad[0] - pts[0]) * base:.2f} s after its start; {DAMAGED}")
    return SourceIndex(
        file_sha256(path),
        pts,
        time,
        *first.size,
        rotation=first.shown.turn.rotation,
        pixel_aspect=first.pixel_aspect,
        stream=number,
        notes=_notes(path, number, first, chosen=stream_number is not None),
    )


def _notes(path: str, number: int, first: _FirstFrame, *, chosen: bool) -> tuple[str, ...]:
    """How the pictures are read, where that is not as one would expect."""
    container, stream = open_video(path, number)
    with container:
        notes = [None if chosen else note_on_choice(container, stream), *first.notes, first.shown.signal.note()]
        notes.append(interlace.note(stream, (frame for frame, _ in islice(_decoded(container, stream), _LOOKED_AT))))
    return tuple(note for note in notes if note)


def read_frames(
    path: str,
    index: np.ndarray,
    pts: np.ndarray | None,
    out: np.ndarray,
    source_size: tuple[int, int],
    threads: int = 1,
    stream_number: int | None = None,
) -> None:
    """Fill `out` (T, H, W, 3) uint8 RGB with the frames of time stamps `pts` (T), or of numbers `index` (T) without.

    Both rise. `source_size` is (height, width) as displayed, `stream_number` that of `SourceIndex.stream`. Raises
    InputError that names file and frame.
    """
    shown, fields = _first_frame(path, stream_number).shown, interlace.FieldPicker()
    frames = (
        _nth_frames(path, index, threads, stream_number)
        if pts is None
        else _frames_at(path, pts, index, threads, stream_number)
    )
    height, width = out.shape[1:3]
    for k, frame in enumerate(frames):
        found = shown.size(frame)
        if found != source_size:
            raise InputError(
                f"frame {index[k]} of {path} is {found[1]}x{found[0]}, but the first is "
                f"{source_size[1]}x{source_size[0]}; cut the video where its size changes"
            )
        out[k] = shown.picture(frame, height, width, threads, fields)


def _frames_at(path: str, pts: np.ndarray, index: np.ndarray, threads: int, stream_number: int | None) -> Iterator[Any]:
    """Yield the frames with these time stamps.

    A seek may land on a key frame that does not suffice (open GOPs, containers without an index), so what is missing
    is tried again from further back before it is given up.
    """
    done = 0
    for seconds in _STEPS_BACK:
        container, stream = open_video(path, stream_number)
        with container:
            _configure(stream, threads)
            if seconds is not None and pts[done] > 0:
                offset = int(pts[done] - seconds / float(stream.time_base))
                try:
                    container.seek(offset, stream=stream)
                except av.error.FFmpegError:
                    continue  # this container cannot seek there
            for frame, sound in _decoded(container, stream):
                if frame.pts is None or frame.pts < pts[done]:
                    continue
                if frame.pts > pts[done] or not sound:
                    break
                yield frame
                done += 1
                if done == len(pts):
                    return
    raise InputError(f"frame {index[done]} of {path} cannot be decoded: the file is damaged there; {DAMAGED}")


def _nth_frames(path: str, index: np.ndarray, threads: int, stream_number: int | None) -> Iterator[Any]:
    """Yield the frames with these numbers, counting from the start: all there is without time stamps."""
    container, stream = open_video(path, stream_number)
    done = 0
    with container:
        _configure(stream, threads)
        for number, (frame, sound) in enumerate(_decoded(container, stream)):
            if number < index[done]:
                continue
            if not sound:
                break
            yield frame
            done += 1
            if done == len(index):
                return
    raise InputError(f"frame {index[done]} of {path} cannot be decoded: the file is damaged there; {DAMAGED}")


def _configure(stream: Any, threads: int) -> None:
    stream.codec_context.thread_count = max(1, threads)
    if threads > 1:
        stream.codec_context.thread_type = "AUTO"


def _decoded(container: Any, stream: Any) -> Iterator[tuple[Any, bool]]:
    """Every frame that can be decoded from here on, in display order, and whether it is sound.

    Decoders patch damage with what they have: after an error nothing is sound until the next key frame. Callers must
    notice what is left out.
    """
    failed = False
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError):
            return  # the file ends here in the middle of something
        if packet is None:
            return
        try:
            frames: Sequence[Any] = packet.decode()
        except av.error.FFmpegError:
            failed = True
            continue
        for frame in frames:
            failed = failed and not frame.key_frame
            yield frame, not (failed or frame.is_corrupt)


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
        for frame, sound in _decoded(container, stream):
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


def _count_frames(path: str, stream_number: int) -> int:
    container, stream = open_video(path, stream_number)
    count = 0
    with container:
        for count, (_, sound) in enumerate(_decoded(container, stream), start=1):
            if not sound:
                raise InputError(f"frame {count - 1} of {path} cannot be decoded: the file is damaged there; {DAMAGED}")
    return count
