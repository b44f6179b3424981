"""Cropping that a container states: Matroska's PixelCrop elements and the clean aperture of MP4 and QuickTime.

FFmpeg's libraries decode the whole picture and leave this cropping to players. Sizes are of the stored picture, before
its display matrix turns it. Cropping inside the bit stream (H.264 and HEVC) is done by the decoder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np

_LARGEST_HEADER = 64 << 20  # bytes: the most that is read of a header; real headers have kilobytes


@dataclass(frozen=True)
class Aperture:
    """The part of a stored picture that players show: rows [top, bottom) and columns [left, right).

    `stored` is the (height, width) of the picture that is cropped. `aspect` is width over height of a stored pixel if
    the container gives the size of the shown part, else None.
    """

    stored: tuple[int, int]
    top: int
    bottom: int
    left: int
    right: int
    aspect: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left

    @property
    def numbers(self) -> tuple[int, int, int, int, int, int]:
        """Return the numbers as a VideoInfo has them: stored height and width, top, bottom, left, right."""
        return (*self.stored, self.top, self.bottom, self.left, self.right)

    @property
    def crops(self) -> bool:
        return self.size != self.stored

    def cut(self, image: np.ndarray) -> np.ndarray:
        """Return the shown part of a stored picture (H, W, ...); a view."""
        return image[self.top : self.bottom, self.left : self.right]

    @property
    def is_possible(self) -> bool:
        return 0 <= self.top < self.bottom <= self.stored[0] and 0 <= self.left < self.right <= self.stored[1]


def stated_aperture(
    container: Any, stream: Any, path: str, decoded: tuple[int, int]
) -> tuple[Aperture | None, str | None]:
    """Return the part of decoded pictures (height, width) to show, None for all; and a remark on it, or None."""
    name = container.format.name
    found: Aperture | None = None
    if "matroska" in name:
        tracks = matroska_apertures(path)
        place = [s.index for s in container.streams.video].index(stream.index)
        found = tracks[place] if place < len(tracks) else None
    elif "mp4" in name:
        found = iso_apertures(path).get(stream.id)
    if found is None or not found.crops or decoded == found.size:  # the bit stream may say the same
        return None, None
    if found.stored != decoded or not found.is_possible:
        (height, width), (stored_height, stored_width) = found.size, found.stored
        return None, (
            f"The container crops pictures of {stored_width}x{stored_height} to {width}x{height}, but they are "
            f"{decoded[1]}x{decoded[0]}: nothing is cropped."
        )
    return found, (
        f"Pictures of {decoded[1]}x{decoded[0]} are cropped to {found.size[1]}x{found.size[0]} as the container says."
    )


def matroska_apertures(path: str) -> list[Aperture]:
    """Return the aperture of each video track, in track order (RFC 9559, sections 5.1.4.1.28.10 to 5.1.4.1.28.16)."""
    with open(path, "rb") as file:
        tracks = _matroska_tracks(file, os.path.getsize(path))
    entries = [dict(_elements(entry)) for kind, entry in _elements(tracks) if kind == 0xAE]
    return [_of_track(dict(_elements(e.get(0xE0, b"")))) for e in entries if _number(e.get(0x83)) == 1]


def _of_track(video: dict[int, bytes]) -> Aperture:
    width, height, display_width, display_height, unit, bottom, top, left, right = (
        _number(video.get(kind)) for kind in (0xB0, 0xBA, 0x54B0, 0x54BA, 0x54B2, 0x54AA, 0x54BB, 0x54CC, 0x54DD)
    )
    shown_width, shown_height = width - left - right, height - top - bottom
    aspect = None
    if min(display_width, display_height, shown_width, shown_height) > 0 and unit <= 3:  # pixels, lengths, or a ratio
        aspect = _aspect(Fraction(display_width, display_height), shown_width, shown_height)
    return Aperture((height, width), top, height - bottom, left, width - right, aspect)


def _matroska_tracks(file: BinaryIO, size: int) -> bytes:
    """Return the content of the first Tracks element, which stands before the pictures or is named by the SeekHead."""
    for kind, start, stop in _element_places(file, 0, size):
        if kind != 0x18538067:  # Segment
            continue
        for inner, begin, end in _element_places(file, start, stop):
            if inner == 0x1654AE6B:
                return _read(file, begin, end)
            if inner == 0x114D9B74 and (place := _sought(_read(file, begin, end))) is not None:
                found = next(_element_places(file, start + place, stop), None)
                if found is not None and found[0] == 0x1654AE6B:
                    return _read(file, *found[1:])
            if inner == 0x1F43B675:  # Cluster: pictures
                break
    return b""


def _sought(seek_head: bytes) -> int | None:
    for kind, entry in _elements(seek_head):
        seek = dict(_elements(entry)) if kind == 0x4DBB else {}
        if seek.get(0x53AB) == b"\x16\x54\xae\x6b":
            return _number(seek.get(0x53AC))
    return None


def _element_places(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield identity, first and last position of the content, of each EBML element in a stretch of a file."""
    while start < stop:
        file.seek(start)
        head = file.read(12)
        kind, length = _vint(head, keep_marker=True)
        size, more = _vint(head[length:], keep_marker=False)
        if not length or not more:
            return
        begin = start + length + more
        unknown = size == (1 << (7 * more)) - 1
        start = stop if unknown else begin + size
        yield kind, begin, min(start, stop)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield identity and content of each EBML element (RFC 8794, sections 4 to 6) in a stretch of bytes."""
    position = 0
    while position < len(data):
        kind, length = _vint(data[position : position + 8], keep_marker=True)
        size, more = _vint(data[position + length : position + length + 8], keep_marker=False)
        if not length or not more:
            return
        begin = position + length + more
        yield kind, data[begin : begin + size]
        position = begin + size


def _vint(data: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """Return an EBML variable-length number and its length in bytes; both are 0 if there is none."""
    if not data or not data[0]:
        return 0, 0
    length = 9 - data[0].bit_length()
    if len(data) < length:
        return 0, 0
    value = int.from_bytes(data[:length], "big")
    return (value if keep_marker else value & ((1 << (7 * length)) - 1)), length


def _number(data: bytes | None) -> int:
    return int.from_bytes(data or b"", "big")


def iso_apertures(path: str) -> dict[int, Aperture]:
    """Return the stated apertures of video tracks, by track number (ISO/IEC 14496-12, section 12.1.4: clap)."""
    found = {}
    with open(path, "rb") as file:
        for kind, start, stop in box_places(file, 0, os.path.getsize(path)):
            if kind != b"moov":
                continue
            for inner, begin, end in box_places(file, start, stop):
                if inner == b"trak":
                    track = _iso_track(file, begin, end)
                    if track is not None:
                        found[track[0]] = track[1]
    return found


def _iso_track(file: BinaryIO, start: int, stop: int) -> tuple[int, Aperture] | None:
    parts = dict(_descend(file, start, stop, (b"mdia", b"minf", b"stbl")))
    header, description = parts.get(b"tkhd", b""), parts.get(b"stsd", b"")
    entry = description[8:]
    inside = dict(boxes(entry[86:])) if len(entry) >= 86 else {}  # after the fields of a VisualSampleEntry
    if len(inside.get(b"clap", b"")) < 32 or len(header) < 84:
        return None
    wide = header[0] == 1  # version: 64-bit times
    number = int.from_bytes(header[20:24] if wide else header[12:16], "big")
    height, width = _number(entry[34:36]), _number(entry[32:34])
    size = Fraction(_number(header[-8:-4]), 1 << 16), Fraction(_number(header[-4:]), 1 << 16)
    # If pixels are not square, or the writer forgot the cropping, this size says nothing.
    shown_as = None if b"pasp" in inside or size == (width, height) or not all(size) else size[0] / size[1]
    aperture = _of_clap(inside[b"clap"], height, width, shown_as)
    return None if aperture is None else (number, aperture)


def _of_clap(clap: bytes, height: int, width: int, shown_as: Fraction | None) -> Aperture | None:
    """Read a `clap` box.

    `shown_as` is the proportion of the shown part in the track's header, None if pixels have their own.
    """
    values = [int.from_bytes(clap[k : k + 4], "big", signed=k in (16, 24)) for k in range(0, 32, 4)]
    if not all(values[1::2]):
        return None
    clean_width, clean_height, x, y = (Fraction(a, b) for a, b in zip(values[::2], values[1::2]))
    left, top = round((width - clean_width) / 2 + x), round((height - clean_height) / 2 + y)
    right, bottom = left + round(clean_width), top + round(clean_height)
    aspect = _aspect(shown_as, right - left, bottom - top) if shown_as and right > left and bottom > top else None
    return Aperture((height, width), top, bottom, left, right, aspect)


def _aspect(shown_as: Fraction, width: int, height: int) -> float:
    """Return width over height of a pixel. Sizes in headers are rounded, so nearly square pixels count as square."""
    aspect = float(shown_as * height / width)
    return 1.0 if abs(aspect - 1) < 0.02 else aspect


def _descend(file: BinaryIO, start: int, stop: int, into: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the boxes that describe pictures, from boxes within boxes: `into` names one box of each level."""
    for kind, begin, end in box_places(file, start, stop):
        if into and kind == into[0]:
            yield from _descend(file, begin, end, into[1:])
        elif kind in (b"tkhd", b"stsd"):
            yield kind, _read(file, begin, end)


def box_places(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, first and last position of the content, of each box of an MP4 file in a stretch of it."""
    while start + 8 <= stop:
        file.seek(start)
        header = file.read(16)
        length, begin = int.from_bytes(header[:4], "big"), 8
        if length == 1:
            length, begin = int.from_bytes(header[8:16], "big"), 16
        elif length == 0:
            length = stop - start
        if length < begin:
            return
        yield header[4:8], start + begin, min(start + length, stop)
        start += length


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of each box of an MP4 file (ISO/IEC 14496-12, section 4.2) in a stretch of bytes."""
    position = 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if length < 8:
            return
        yield data[position + 4 : position + 8], data[position + 8 : position + length]
        position += length


def _read(file: BinaryIO, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(max(0, min(stop - start, _LARGEST_HEADER)))
