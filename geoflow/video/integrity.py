"""Is a container file whole? Its own headers say how long it should be.

FFmpeg reads a file that was cut off as far as it goes and reports nothing, so the promise is checked here: ISO base
media (ISO/IEC 14496-12, section 4.2: boxes), Matroska and WebM (RFC 9559 and RFC 8794: element sizes), AVI (RIFF
chunks), GIF (GIF89a, section 27: trailer). Transport streams and bare bit streams promise nothing, so their end cannot
be checked.
"""

from __future__ import annotations

import os
from typing import BinaryIO

_BOXES = {
    b"ftyp",
    b"moov",
    b"mdat",
    b"moof",
    b"styp",
    b"sidx",
    b"free",
    b"skip",
    b"wide",
    b"uuid",
    b"udta",
    b"meta",
    b"pnot",
}
_BOXES |= {b"mfra", b"emsg", b"prft", b"pdin", b"ssix", b"junk", b"PICT"}
_ESSENTIAL_BOXES = {b"moov", b"mdat", b"moof"}
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def whats_missing(path: str) -> str | None:
    """What the file's headers promise and the file lacks, in words; None when nothing is known to be missing."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(12)
        if head[4:8] in _BOXES:
            return _iso_media(file, size)
        if head.startswith(_EBML):
            return _matroska(file, size)
        if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
            return _avi(file, size)
        if head[:6] in (b"GIF87a", b"GIF89a"):
            return _gif(file, size)
    return None


def _iso_media(file: BinaryIO, size: int) -> str | None:
    position, seen = 0, set()
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if kind not in _BOXES:
            break  # padding after the last box, or nothing this module knows
        seen.add(kind)
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = size - position  # the last box runs to the end of the file
        if kind in _ESSENTIAL_BOXES and position + length > size:
            return _cut(position + length, size)
        if length < 8:
            break
        position += length
    if b"moov" not in seen:
        return "it has no moov box, the index of its frames (the recording or the copy stopped before its end)"
    return None


def _matroska(file: BinaryIO, size: int) -> str | None:
    file.seek(4)
    header = _vint(file)
    if header is None:
        return None
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return None
    length = _vint(file)
    if length is None or file.tell() + length <= size:  # a live recording leaves the length open
        return None
    return _cut(file.tell() + length, size)


def _vint(file: BinaryIO) -> int | None:
    """An EBML variable-length size (RFC 8794, section 4); None when it is 'unknown'."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & ((1 << (7 - more)) - 1)]) + file.read(more), "big")
    return None if value == (1 << (7 * (more + 1))) - 1 else value


def _avi(file: BinaryIO, size: int) -> str | None:
    position = 0  # files over 1 GiB hold several RIFF chunks
    while position + 12 <= size:
        file.seek(position)
        header = file.read(8)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or length == 0:
            return None
        if position + 8 + length > size:
            return _cut(position + 8 + length, size)
        position += 8 + length + length % 2
    return None


def _gif(file: BinaryIO, size: int) -> str | None:
    file.seek(max(0, size - 64))
    closed = file.read().rstrip(b"\0").endswith(b";")  # some writers pad the end
    return None if closed else "it lacks the byte that closes a GIF"


def _cut(promised: int, found: int) -> str:
    return f"its headers promise {promised} bytes, but it has {found}"
