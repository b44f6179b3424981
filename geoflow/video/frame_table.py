"""Frame tables, for files whose packets do not tell which frames there are.

Some packets hold no whole picture, or several, or have no time stamp. Then the whole file is decoded once, and each
frame is listed with the place where decoding must start to get the frame again. A frame is recognised by its packet,
counted from the start of the stream. So a reader may start at the last key frame before it, and reading a part of a
video takes only the time of this part.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.codec.context import Flags

from geoflow.errors import InputError
from geoflow.video.container import DAMAGED, carries_times, open_video
from geoflow.video.cursor import Cursor
from geoflow.video.decoder import Beginning, configure, decoded
from geoflow.video.times import NO_STAMP

# Columns of a table's `seek`: the packet to start at (its number in the stream, byte position, decoding stamp), then
# the frame's own packet and the frame's number within this packet.
COLUMNS = ("start", "position", "stamp", "packet", "nth")
_GROUPS_BACK = (0, 1, 4, 16, None)  # key frames before the usual one to start from; None: the beginning
_MOST_REORDER = 64  # packets (two a frame, with fields) that may come before a frame is given


@dataclass(frozen=True)
class FrameTable:
    """Every frame of a file in display order, as the decoder gives them.

    `stamps` (F,) int64 are in the stream's time base, NO_STAMP if a frame has none. `seek` (F, 5) int64 has the columns
    of `COLUMNS`. `left_out` is the number of frames before the first sound one: they need packets that the file lacks.
    """

    stamps: np.ndarray
    seek: np.ndarray
    left_out: int = 0


def list_frames(path: str, stream_number: int | None = None) -> FrameTable:
    """Decode a whole stream of a file to list its frames. Raises InputError if a frame cannot be decoded."""
    container, stream = open_video(path, stream_number)
    places: list[tuple[int, int]] = []  # byte position and decoding stamp of each packet
    rows: list[tuple[int, int, int, bool]] = []  # packet, which of its frames, stamp, key frame
    beginning = Beginning(stream)
    left_out: list[int] = []  # packets
    with container:
        _prepare(stream, 1)
        packets = beginning.packets(_numbered(container.demux(stream), 0, places), lambda packet: packet.opaque[0])
        for mark, frame, sound in _marked(decoded(container, stream, packets)):
            if not sound and not rows:
                beginning.patched(mark[0])
                left_out.append(mark[0])
                continue
            if not sound or (not rows and beginning.is_damaged(mark[0])):
                raise InputError(f"frame {len(rows)} of {path} cannot be decoded: the file is damaged there; {DAMAGED}")
            rows.append((*mark, NO_STAMP if frame.pts is None else frame.pts, bool(frame.key_frame)))
    if not rows:
        raise InputError(f"{path} opens as a video, but not one frame of it can be decoded; {DAMAGED}")
    timed = carries_times(container)
    place, packet = np.array(places, np.int64), np.array([row[0] for row in rows], np.int64)
    stamps = np.array([row[2] if timed else NO_STAMP for row in rows], np.int64)
    if container.format.name == "avi":
        # AVI has no time stamps but counts its packets; frames are shown in order at these ticks.
        stamps = np.sort(place[[*left_out, *packet], 1])[len(left_out) :]
    start = _starts(packet, np.flatnonzero([row[3] for row in rows]))
    nths = np.array([row[1] for row in rows], np.int64)
    return FrameTable(stamps, np.column_stack([start, place[start], packet, nths]).astype(np.int64), len(left_out))


class Rows:
    """Finds frames by their rows of a table's `seek` (F, 5), from row `first` on, see `cursor.Places`.

    Decoding starts at a key frame. A mark is (packet number, number within the packet).
    """

    ways = len(_GROUPS_BACK)

    def __init__(self, path: str, stream_number: int | None, seek: np.ndarray, first: int, threads: int) -> None:
        self._path, self._stream, self._threads = path, stream_number, threads
        self._seek, self._first = seek, first

    def open(self, k: int, way: int) -> Cursor:
        """Return a decoder at the last key frame before wanted frame k, or at an earlier key frame."""
        origin = _origin(self._seek, self._first + k, _GROUPS_BACK[way])
        container, stream, packets = _open_at(self._path, self._stream, origin, self._threads)
        return Cursor(container, _marked(decoded(container, stream, packets)), (origin[0], 0))

    def compare(self, mark: tuple[int, int], k: int) -> int:
        wanted = tuple(self._seek[self._first + k, 3:])
        return 0 if mark == wanted else 1 if mark[0] > wanted[0] + _MOST_REORDER else -1


def _marked(frames: Iterator[tuple[Any, bool]]) -> Iterator[tuple[tuple[int, int], Any, bool]]:
    """Yield each frame with its mark: the number of its packet, and the frame's number within the packet."""
    last, nth = -1, 0
    for frame, sound in frames:
        (number,) = frame.opaque
        last, nth = number, nth + 1 if number == last else 0
        yield (number, nth), frame, sound


def _prepare(stream: Any, threads: int) -> None:
    configure(stream, threads)
    stream.codec_context.flags |= Flags.copy_opaque  # a frame carries what its packet carried


def _numbered(packets: Iterator[Any], first: int, places: list[tuple[int, int]] | None = None) -> Iterator[Any]:
    """Yield the packets that hold something, each numbered; then the empty one that ends the decoding."""
    for packet in packets:
        if packet.size:
            packet.opaque = [first]  # PyAV finds these by identity, and a small int is the same object in all files
            first += 1
            if places is not None:
                places.append(
                    (-1 if packet.pos is None else packet.pos, NO_STAMP if packet.dts is None else packet.dts)
                )
        elif packet.dts is not None or packet.pts is not None:
            continue  # a picture left out on purpose
        yield packet


def _starts(packet: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return for each frame the packet of the last key frame not shown or stored after it; 0 if there is none."""
    group = np.searchsorted(keys, np.arange(len(packet)), side="right") - 1
    while len(keys) and (late := (group >= 0) & (packet[keys[group]] > packet)).any():
        group[late] -= 1
    return np.where(group >= 0, packet[keys[group]] if len(keys) else 0, 0)


def _origin(seek: np.ndarray, frame: int, back: int | None) -> tuple[int, int, int]:
    """Return where to start for a frame: packet, byte position, stamp. Packet 0 is the beginning."""
    if back is None:
        return 0, -1, NO_STAMP
    starts, first = np.unique(seek[: frame + 1, 0], return_index=True)
    group = np.searchsorted(starts, seek[frame, 0]) - back
    return tuple(seek[first[group], :3].tolist()) if group > 0 else (0, -1, NO_STAMP)


def _open_at(
    path: str, stream_number: int | None, origin: tuple[int, int, int], threads: int
) -> tuple[Any, Any, Iterator[Any]]:
    """Return the open container, its stream, and the packets from `origin` on; the caller closes the container."""
    start, position, stamp = origin
    ways = [] if not start else [way for way, known in (("stamp", stamp != NO_STAMP), ("byte", position >= 0)) if known]
    for way in ways:
        container, stream = open_video(path, stream_number)
        _prepare(stream, threads)
        try:
            if way == "stamp":
                container.seek(stamp, stream=stream)
            else:
                container.seek(position, stream=stream, unsupported_byte_offset=True)
            packets = container.demux(stream)
            if (key := _find(packets, position, stamp)) is not None:
                return container, stream, _numbered(itertools.chain([key], packets), start)
        except (av.error.FFmpegError, OSError):
            pass  # this container cannot seek in this way
        container.close()
    container, stream = open_video(path, stream_number)
    _prepare(stream, threads)
    packets = (
        packet for packet in _numbered(container.demux(stream), 0) if not packet.size or packet.opaque[0] >= start
    )
    return container, stream, packets


def _find(packets: Iterator[Any], position: int, stamp: int) -> Any | None:
    """Return the packet at this place; None if the seek went past it."""
    for packet in packets:
        if not packet.size:
            continue
        at, when = -1 if packet.pos is None else packet.pos, NO_STAMP if packet.dts is None else packet.dts
        if at == position and when == stamp:
            return packet
        if at > position >= 0 or (position < 0 and when > stamp):
            return None
    return None
