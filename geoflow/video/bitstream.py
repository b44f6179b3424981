"""The number of pictures that a packet shows, read from the packet's own headers.

Containers store as one packet what an encoder gave as one piece. With most codecs a packet is one picture. But some
packets hold pictures that are never shown (VP8, VP9 and AV1 keep references so), and some hold one field of a picture
(H.264, MPEG-2). Sources: RFC 6386, section 9.1 (VP8); VP9 bitstream specification, section 6.2 and annex B; AV1
bitstream specification, sections 5.3 and 5.9; ITU-T H.264, section 7.3.2.1.1; ITU-T H.262, section 6.2.3.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_ALWAYS_ONE = {"hevc", "mpeg1video", "gif", "apng", "png", "webp", "qtrle", "tiff", "bmp"}
_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
_SPS = 7  # H.264's NAL unit that says whether pictures may be sent as fields


class PacketReader:
    """Reads the packets of one stream. `shown` is None if the headers do not tell: then the packets must be decoded."""

    def __init__(self, stream: Any) -> None:
        codec = stream.codec_context.codec
        self._codec = codec.canonical_name
        self._one = bool(codec.intra_only) or self._codec in _ALWAYS_ONE
        self._fields = self._codec == "h264" and _may_send_fields(bytes(stream.codec_context.extradata or b""))

    def shown(self, packet: Any) -> int | None:
        """Return the number of pictures that this packet shows: 0 if it only helps to decode others, else None."""
        if self._one:
            return 1
        if self._codec == "h264":
            if packet.is_keyframe:
                self._fields = self._fields or _may_send_fields(bytes(packet)[:4096])
            return None if self._fields else 1
        data = memoryview(packet)
        if self._codec == "vp8":
            return int(bool(data[0] & 0x10))
        if self._codec == "vp9":
            return sum(_vp9_shows(piece) for piece in _vp9_pieces(data))
        if self._codec == "av1":
            return sum(_av1_shows(kind, body) for kind, body in _av1_units(data))
        return _mpeg2_pictures(bytes(data)) if self._codec == "mpeg2video" else None


def _vp9_pieces(data: memoryview) -> Iterator[memoryview]:
    """Yield the frames of a packet: several if its last byte announces an index of them."""
    mark = data[-1]
    count, width = (mark & 7) + 1, (mark >> 3 & 3) + 1
    length = 2 + count * width
    if mark & 0xE0 != 0xC0 or len(data) < length or data[-length] != mark:
        yield data
        return
    sizes, at = data[-length + 1 : -1], 0
    for k in range(count):
        size = int.from_bytes(sizes[k * width : (k + 1) * width], "little")
        if size:
            yield data[at : at + size]
        at += size


def _vp9_shows(frame: memoryview) -> bool:
    if not len(frame):
        return False
    shift = 1 if frame[0] & 0x30 == 0x30 else 0  # profile 3 has a reserved bit before these
    return bool(frame[0] << shift & 0x08 or frame[0] << shift & 0x02)  # shows an earlier frame again, or this one


def _av1_units(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield type and content of each OBU of the packet."""
    at = 0
    while at < len(data):
        head, at = data[at], at + 1 + bool(data[at] & 4)
        size, shift = len(data) - at, 0
        if head & 2:
            size = 0
            while at < len(data):
                byte, at = data[at], at + 1
                size |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    break
        yield head >> 3 & 15, data[at : at + size]
        at += size


def _av1_shows(kind: int, body: memoryview) -> bool:
    return kind in (3, 6) and len(body) > 0 and bool(body[0] & 0x80 or body[0] & 0x10)


def _mpeg2_pictures(data: bytes) -> int | None:
    """Return the number of whole pictures in a packet; None for half a picture."""
    frames = fields = 0
    at = data.find(b"\0\0\1\xb5")
    while 0 <= at < len(data) - 6:
        if data[at + 4] >> 4 == 8:  # the picture coding extension
            structure = data[at + 6] & 3
            frames, fields = frames + (structure == 3), fields + (structure in (1, 2))
        at = data.find(b"\0\0\1\xb5", at + 4)
    return None if fields % 2 else frames + fields // 2


def _may_send_fields(data: bytes) -> bool:
    """Return whether a sequence parameter set in `data` (avcC, or with start codes) allows single fields."""
    return any(not _only_frames(unit) for unit in _h264_units(data) if unit[0] & 31 == _SPS and len(unit) > 4)


def _h264_units(data: bytes) -> Iterator[bytes]:
    if data[:1] == b"\1":  # an avcC record: a count, then each unit with its length
        at = 6
        for _ in range(data[5] & 31 if len(data) > 5 else 0):
            size = int.from_bytes(data[at : at + 2], "big")
            yield data[at + 2 : at + 2 + size] or b"\0"
            at += 2 + size
    elif b"\0\0\1" in data[:8]:
        yield from (unit for unit in data.split(b"\0\0\1")[1:] if unit)
    else:
        at = 0
        while at + 4 < len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            yield data[at + 4 : at + 4 + size] or b"\0"
            at += 4 + size


def _only_frames(sps: bytes) -> bool:
    """Return frame_mbs_only_flag. A set that cannot be read counts as one that allows fields: then decoding tells."""
    bits = _Bits(sps[1:].replace(b"\0\0\3", b"\0\0"))
    try:
        profile = bits.number(8)
        bits.number(16)
        bits.exp_golomb()
        if profile in _HIGH_PROFILES:
            _skip_high_profile(bits)
        bits.exp_golomb()
        order = bits.exp_golomb()
        if order == 0:
            bits.exp_golomb()
        elif order == 1:
            bits.number(1)
            for _ in range(2):
                bits.exp_golomb()
            for _ in range(bits.exp_golomb()):
                bits.exp_golomb()
        bits.exp_golomb()
        bits.number(1)
        for _ in range(2):
            bits.exp_golomb()
        return bool(bits.number(1))
    except IndexError:
        return False


def _skip_high_profile(bits: _Bits) -> None:
    chroma = bits.exp_golomb()
    if chroma == 3:
        bits.number(1)
    for _ in range(2):
        bits.exp_golomb()
    bits.number(1)
    if not bits.number(1):
        return
    for k in range(12 if chroma == 3 else 8):
        if bits.number(1):
            last = following = 8
            for _ in range(16 if k < 6 else 64):
                if following:
                    code = bits.exp_golomb()
                    following = (last + (-(code // 2) if code % 2 == 0 else (code + 1) // 2)) % 256
                last = following or last


class _Bits:
    """Bits of a header, the highest first. Raises IndexError past the end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
            self._at += 1
        return value

    def exp_golomb(self) -> int:
        zeros = 0
        while not self.number(1):
            zeros += 1
        return (1 << zeros) - 1 + self.number(zeros)
