"""Video files whose packets, stamps or headers are not what they should be, each made from a sound one of `clips`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import clips
from av.bitstream import BitStreamFilterContext

_NOT_CODED = b"\0\0\1\xb6\x50\x9f"  # an MPEG-4 picture that says "nothing new" (at 10 Hz: 4 bits of time increment)
_DIVX = b"\0\0\1\xb2DivX503b1393p"  # the p: pictures are packed


def restamped(path: Path, ticks: list[int]) -> Path:
    """An MKV of JPEGs whose frame k is stamped `ticks[k]` ms."""
    data = bytearray(clips.write(path, len(ticks), codec="mjpeg", pixels="yuvj420p").read_bytes())
    at = 0
    for k, tick in enumerate(ticks):
        at = data.find(b"\x81" + struct.pack(">h", 100 * k) + b"\x80\xff\xd8", at + 1)
        assert at > 0
        data[at + 1 : at + 3] = struct.pack(">h", tick)
    path.write_bytes(data)
    return path


def unstamped(path: Path, missing: Iterable[int], ticks: list[int]) -> Path:
    """A transport stream of frames at `ticks` / 10 s without the time stamps of some packets (H.222.0, 2.4.3.7)."""
    clips.write(path, len(ticks), pts=ticks, time_base=Fraction(1, 10))
    data, number, wanted = bytearray(path.read_bytes()), 0, set(missing)
    at = data.find(b"\0\0\1\xe0")
    while at >= 0:
        if number in wanted:
            flags, length = data[at + 7], data[at + 8]
            assert flags & 0x80
            data[at + 7] = flags & 0x3F
            data[at + 9 : at + 9 + length] = b"\xff" * length
        number, at = number + 1, data.find(b"\0\0\1\xe0", at + 4)
    assert number == len(ticks)
    path.write_bytes(data)
    return path


def packed(path: Path, count: int = 30) -> Path:
    """An AVI as DivX made them: a picture and the B-frame before it in one packet, and then an empty one."""
    pieces = _packets(clips.write(path.with_suffix(".plain.avi"), count, codec="mpeg4", options={"bf": "1", "g": "10"}))
    out: list[tuple[bytes, bool]] = []
    while pieces:
        data, key = pieces.pop(0)
        if key:
            at = data.find(b"\0\0\1\xb2")
            data = data[:at] + _DIVX + data[data.find(b"\0\0\1", at + 4) :]
        if pieces and _vop(data) != 2 and _vop(pieces[0][0]) == 2:
            out += [(data + pieces.pop(0)[0], key), (_NOT_CODED, False)]
        else:
            out.append((data, key))
    return _avi(path, path.with_suffix(".plain.avi"), out)


def with_gaps(path: Path, after: tuple[int, ...], count: int = 20) -> Path:
    """An AVI of MPEG-4 in which "nothing new" follows some pictures."""
    pieces = _packets(clips.write(path.with_suffix(".plain.avi"), count, codec="mpeg4", options={"bf": "0", "g": "10"}))
    out = [row for k, piece in enumerate(pieces) for row in (piece, (_NOT_CODED, False))[: 1 + (k in after)]]
    return _avi(path, path.with_suffix(".plain.avi"), out)


def split_av1(path: Path, count: int = 30) -> Path:
    """An IVF in which every coded frame is a packet of its own, shown or not."""
    with av.open(str(clips.write(path.with_suffix(".mkv"), count, codec="libsvtav1"))) as file:
        stream = file.streams.video[0]
        cutter = BitStreamFilterContext("av1_frame_split", stream)
        packets: list[Any] = [p for p in file.demux(stream) if p.size]
        pieces = [bytes(piece) for packet in [*packets, None] for piece in cutter.filter(packet)]
    assert len(pieces) > len(packets)
    return _ivf(path, pieces, b"AV01")


def hidden_vp9(path: Path, count: int = 30) -> Path:
    """An IVF of key frames that are not shown, each followed by a packet that shows what was decoded last."""
    pieces = []
    for data, key in _packets(clips.write(path.with_suffix(".webm"), count, codec="libvpx-vp9", options={"g": "1"})):
        assert key and data[0] == 0x82  # profile 0, key frame, shown
        pieces += [b"\x80" + data[1:], b"\x88"]
    return _ivf(path, pieces, b"VP90")


def _ivf(path: Path, pieces: list[bytes], codec: bytes) -> Path:
    head = b"DKIF" + struct.pack("<HH4sHHIII", 0, 32, codec, clips.WIDTH, clips.HEIGHT, 10, 1, len(pieces)) + b"\0" * 4
    path.write_bytes(head + b"".join(struct.pack("<IQ", len(p), n) + p for n, p in enumerate(pieces)))
    return path


def edited(source: Path, target: Path, change: Callable[[bytes], bytes]) -> Path:
    """A copy with its bytes changed."""
    target.write_bytes(change(source.read_bytes()))
    return target


def _vop(data: bytes) -> int:
    """The coding type of an MPEG-4 picture: 0 I, 1 P, 2 B."""
    return data[data.find(b"\0\0\1\xb6") + 4] >> 6


def _packets(path: Path) -> list[tuple[bytes, bool]]:
    with av.open(str(path)) as file:
        return [(bytes(packet), packet.is_keyframe) for packet in file.demux(video=0) if packet.size]


def _avi(path: Path, like: Path, packets: list[tuple[bytes, bool]]) -> Path:
    with av.open(str(like)) as model, av.open(str(path), "w") as file:
        stream = file.add_stream_from_template(model.streams.video[0])
        for number, (data, key) in enumerate(packets):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 10), stream, key
            file.mux(packet)
    return path
