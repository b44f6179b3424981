"""A check whether a container file is whole: its own parts say where they should end.

FFmpeg reads a file that was cut off as far as it goes and reports nothing. So the parts are followed here to their
ends: ISO base media (ISO/IEC 14496-12, section 4.2: boxes), Matroska and WebM (RFC 9559 and RFC 8794: elements), AVI
(RIFF chunks), GIF (GIF89a: blocks), FLV (tags), Ogg (RFC 3533: pages), MXF (SMPTE 377: KLV triplets). A part that goes
on beyond the file's end is evidence of loss. A header that merely promises more, or bytes after the end, are only
noted. Transport streams and bare bit streams promise nothing, so their end cannot be checked.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

_BOXES = {b"ftyp", b"moov", b"mdat", b"moof", b"styp", b"sidx", b"free", b"skip", b"wide", b"uuid", b"udta", b"meta"}
_BOXES |= {b"pnot", b"mfra", b"emsg", b"prft", b"pdin", b"ssix", b"junk", b"PICT"}
_ESSENTIAL_BOXES = {b"moov", b"mdat", b"moof"}
_EBML, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_UNKNOWN = -1  # the size of an EBML element that was still being written
_OGG = b"OggS"
_SMPTE, _MXF_FOOTER = b"\x06\x0e\x2b\x34", b"\x0d\x01\x02\x01\x01\x04"
_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FLV_TAGS = (8, 9, 18)  # sound, pictures, script
_PARTS = {_SEGMENT, _CLUSTER, *(bytes([head]) for head in b"\xe7\xa7\xab\xa3\xa0\xaf\xbf\xec"), b"\x58\x54"}
_PARTS |= {b"\x11\x4d\x9b\x74", b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b", b"\x1c\x53\xbb\x6b"}
_PARTS |= {b"\x19\x41\xa4\x69", b"\x10\x43\xa7\x70", b"\x12\x54\xc3\x67"}
_SLACK = 0.05  # share of a promised length that may be missing: headers round


@dataclass(frozen=True)
class State:
    """Result of a look at a file's parts: what is certainly missing or broken ("" if nothing), and remarks."""

    missing: str = ""
    notes: tuple[str, ...] = ()
    broken: str = ""


def look_over(path: str) -> State:
    """Follow the parts of a file to its end. For unknown kinds of files nothing is reported."""
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
        if head[:3] == b"FLV":
            return _flv(file, size)
        if head[:4] == _OGG:
            return _ogg(file, size)
        if head[:4] == _SMPTE:
            return _mxf(file, size)
    return State()


def _iso_media(file: BinaryIO, size: int) -> State:
    position, seen = 0, set()
    notes: tuple[str, ...] = ()
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0 and kind in _BOXES:
            length = size - position  # the last box runs to the end of the file
        if kind not in _BOXES and (length < 8 or position + length > size):
            notes = _after(file, position, size)
            break
        seen.add(kind)
        if kind in _ESSENTIAL_BOXES and position + length > size:
            return _cut(position + length, size)
        if length < 8:
            break
        position += length
    if b"moov" not in seen:
        return State("it has no moov box, the index of its frames (the recording or the copy stopped before its end)")
    return State(notes=notes)


def _matroska(file: BinaryIO, size: int) -> State:
    """Check the segment's size; if it was left open (a live recording), check the last block's size."""
    file.seek(4)
    header = _vint(file)
    if header is None or header == _UNKNOWN:
        return State()
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return State()
    length = _vint(file)
    if length is None:
        return State()
    if length != _UNKNOWN:
        end = file.tell() + length
        return _cut(end, size) if end > size else State(notes=_after(file, end, size))
    while (position := file.tell()) < size:
        kind = file.read(1)
        kind += file.read(8 - kind[0].bit_length()) if kind[0] else b""
        length = _vint(file)
        if kind not in _PARTS or length is None:
            return State(notes=_after(file, position, size))
        if kind not in (_SEGMENT, _CLUSTER):
            if length == _UNKNOWN:
                break
            if file.tell() + length > size:
                return _cut(file.tell() + length, size)
            file.seek(length, os.SEEK_CUR)
    return State()


def _vint(file: BinaryIO) -> int | None:
    """Read an EBML variable-length size (RFC 8794, section 4); None if there is none."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & ((1 << (7 - more)) - 1)]) + file.read(more), "big")
    return _UNKNOWN if value == (1 << (7 * (more + 1))) - 1 else value


def _avi(file: BinaryIO, size: int) -> State:
    position = 0  # files over 1 GiB hold several RIFF chunks
    while position + 12 <= size:
        file.seek(position)
        header = file.read(8)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or length == 0:
            return State(notes=_after(file, position, size) if position else ())
        end = position + 8 + length
        if end > size:
            if not _holds_its_pictures(file, position + 12, size):
                return _cut(end, size)
            return State(
                notes=(f"The file's header promises {end} bytes, but it has {size}; all of its pictures are there.",)
            )
        position = end + length % 2
    return State(notes=_after(file, position, size))


def _holds_its_pictures(file: BinaryIO, position: int, size: int) -> bool:
    """Return whether the chunk of an AVI's pictures, and the index after it, end before the file does."""
    found = False
    while position + 12 <= size:
        file.seek(position)
        header = file.read(12)
        position += 8 + int.from_bytes(header[4:8], "little")
        if position > size:
            return False
        position += position % 2
        if found and header[:4] == b"idx1":
            return True
        found = found or (header[:4] == b"LIST" and header[8:12] == b"movi")
    return False


def _gif(file: BinaryIO, size: int) -> State:
    """Follow the blocks. A block that ends early, or announces a picture that does not come, is evidence of loss."""
    file.seek(10)
    flags = file.read(3)[:1] or b"\0"
    file.seek(_colours(flags[0]), os.SEEK_CUR)
    announced = False  # a graphic control extension announced a picture
    while file.tell() < size:
        position, kind = file.tell(), file.read(1)
        if kind == b";":
            return State(notes=_after(file, position + 1, size))
        if kind == b"!":
            announced = file.read(1) == b"\xf9" or announced
        elif kind == b",":
            flags = file.read(9)[8:] or b"\0"
            file.seek(_colours(flags[0]) + 1, os.SEEK_CUR)
            announced = False
        elif not announced:
            return State(notes=(*_no_trailer(), *_after(file, position, size)))
        else:
            break
        if not _skip_blocks(file):
            return State("its last block has no end")
    return State("its last picture is announced, but missing") if announced else State(notes=_no_trailer())


def _colours(flags: int) -> int:
    """Return the size in bytes of the colour table that follows."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_blocks(file: BinaryIO) -> bool:
    """Pass over a GIF's data blocks; False if the file ends before the empty block that closes them."""
    while length := file.read(1):
        if length == b"\0":
            return True
        file.seek(length[0], os.SEEK_CUR)
    return False


def _no_trailer() -> tuple[str, ...]:
    return ("The file lacks the byte that closes a GIF; its last picture is whole.",)


def _flv(file: BinaryIO, size: int) -> State:
    file.seek(5)
    position, last = int.from_bytes(file.read(4), "big") + 4, 0.0
    promised: dict[str, float] = {}
    while position + 11 <= size:
        file.seek(position)
        header = file.read(11)
        length = int.from_bytes(header[1:4], "big")
        if header[0] & 0x1F not in _FLV_TAGS or header[8:11] != b"\0\0\0":
            return State(notes=_after(file, position, size))
        if position + 11 + length > size:
            return _cut(position + 11 + length, size)
        if header[0] & 0x1F == 18:
            promised = promised or _numbers_of(file.read(min(length, 1 << 16)))
        last = max(last, int.from_bytes(header[7:8] + header[4:7], "big") / 1000)
        position += 11 + length + 4
    broken = [found / promised[name] for name, found in (("duration", last), ("filesize", size)) if promised.get(name)]
    if len(broken) == 2 and max(broken) < 1 - _SLACK and max(broken) < 2 * min(broken):  # both say the same
        return _cut(int(promised["filesize"]), size)
    return State()


def _numbers_of(script: bytes) -> dict[str, float]:
    """Return the numbers of an FLV's onMetaData (Adobe's FLV specification, section E.5) that promise a length."""
    found = {}
    for name in (b"duration", b"filesize"):
        at = script.find(len(name).to_bytes(2, "big") + name + b"\0")
        if at >= 0 and len(value := script[at + len(name) + 3 :][:8]) == 8:
            found[name.decode()] = struct.unpack(">d", value)[0]
    return {name: value for name, value in found.items() if value > 0}


def _ogg(file: BinaryIO, size: int) -> State:
    """Follow the pages (RFC 3533, section 6). Each stream in the file ends with a page that says so."""
    position, unended = 0, set[bytes]()
    while position < size:
        file.seek(position)
        page = file.read(27)
        if page[:4] != _OGG[: len(page)]:
            if unended and position:
                return State(broken=f"no page begins at byte {position}, where one should")
            return State(notes=_after(file, position, size))
        page += file.read(page[26]) if len(page) == 27 else b""
        if len(page) < 27 or len(page) < 27 + page[26]:
            return State("its last page is not whole")
        content = sum(page[27:])
        page += file.read(content)
        position += len(page)
        if len(page) < 27 + page[26] + content:
            return State("its last page is not whole")
        if int.from_bytes(page[22:26], "little") != _ogg_checksum(page[:22] + bytes(4) + page[26:]):
            return State(broken=f"the checksum of its page at byte {position - len(page)} is wrong")
        (unended.discard if page[5] & 4 else unended.add)(page[14:18])
    if unended:
        return State(notes=("The file ends before its streams are marked as ended: it may have been longer.",))
    return State()


def _ogg_checksum(page: bytes) -> int:
    """Return CRC-32 as Ogg defines it: the usual one with reversed bits in every byte and in the sum."""
    found = zlib.crc32(page.translate(_TURNED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{found:032b}"[::-1], 2)


def _mxf(file: BinaryIO, size: int) -> State:
    """Follow the KLV triplets: a key of 16 bytes, a BER length, a value. A finished file has a footer partition."""
    position, finished = 0, False
    while position < size:
        file.seek(position)
        head = file.read(25)
        if head[:4] != _SMPTE[: len(head)]:
            return State(notes=_after(file, position, size))
        if len(head) < 17:
            return _cut(position + 17, size)
        finished = finished or head[8:14] == _MXF_FOOTER
        more = head[16] & 0x7F if head[16] & 0x80 else 0
        length = int.from_bytes(head[17 : 17 + more], "big") if more else head[16]
        position += 17 + more + length
    if position > size:
        return _cut(position, size)
    return State() if finished else State(notes=("The file lacks its footer: it may have been longer.",))


def _after(file: BinaryIO, end: int, size: int) -> tuple[str, ...]:
    """Return the remark on bytes after a file's end; zeros are padding."""
    file.seek(end)
    if not file.read(1 << 16).strip(b"\0"):
        return ()
    return (f"{size - end} bytes that belong to nothing follow the video in its file.",)


def _cut(promised: int, found: int) -> State:
    return State(f"its headers promise {promised} bytes, but it has {found}")
