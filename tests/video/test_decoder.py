"""What is built on damage, or on nothing, is never taken for a picture of the film."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import clips
import numpy as np
import pytest

from geoflow.errors import InputError
from geoflow.video.frame_reader import read_frames
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe

GROUPS = {"g": "10", "bf": "2", "b_strategy": "0", "crf": "10", "sc_threshold": "0"}


def spoiled(source: Path, target: Path, number: int) -> Path:
    """A copy in which the end of packet `number` is other numbers, yet the decoder gives a (patched) frame."""
    with av.open(str(source)) as file:
        packet = [p for p in file.demux(video=0) if p.size][number]
        assert packet.pos is not None
        start, stop = packet.pos + packet.size - 60, packet.pos + packet.size - 45
    data = bytearray(source.read_bytes())
    data[start:stop] = bytes(byte ^ 0x5A for byte in data[start:stop])
    target.write_bytes(data)
    with av.open(str(target)) as file:
        frames = list(file.decode(video=0))
    assert [k for k, frame in enumerate(frames) if frame.is_corrupt] == [number], "the decoder flags this one alone"
    return target


def test_frames_built_on_a_patched_one_are_not_sound(tmp_path: Path) -> None:
    whole = clips.write(tmp_path / "a.mp4", 30, options=GROUPS)
    path = spoiled(whole, tmp_path / "b.mp4", 10)
    info, arrays = probe(str(path), "v")
    for start, stop in ((12, 15), (17, 18)):
        with pytest.raises(InputError, match=rf"frame {start} of .*b\.mp4 cannot be decoded"):
            read_frames(info, arrays["video.index"], arrays["video.pts"], start, stop)
    for start in (0, 20):
        frames = read_frames(info, arrays["video.index"], arrays["video.pts"], start, start + 9)
        assert [clips.number_of(frame) for frame in frames] == list(range(start, start + 9))


@pytest.mark.parametrize("name", ["b.mp4", "b.h264"])  # by stamps, and by a frame table
def test_a_damaged_first_key_frame_is_no_late_beginning(tmp_path: Path, name: str) -> None:
    whole = clips.write(tmp_path / f"a{Path(name).suffix}", 30, options=GROUPS)
    with pytest.raises(InputError, match=r"frame 0 of .* cannot be decoded"):
        probe(str(spoiled(whole, tmp_path / name, 0)), "v")


def test_a_damaged_first_picture_of_single_ones_is_no_late_beginning(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.mov", 12, codec="png", pixels="rgb24")
    data = bytearray(path.read_bytes())
    at = data.find(b"IDAT")
    data[at + 20 : at + 60] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"frame 0 of .* cannot be decoded"):
        probe(str(path), "v")


LATE: dict[str, tuple[str, dict[str, Any]]] = {
    "h264": (".mkv", {"options": GROUPS}),
    "h264-bare": (".ts", {"options": GROUPS}),
    "mpeg4": (".mkv", {"codec": "mpeg4", "options": {"g": "10", "bf": "0", "b": "2000000"}}),
    "mpeg4-avi": (".avi", {"codec": "mpeg4", "options": {"g": "10", "bf": "2", "b": "2000000"}}),
    "flv1": (".flv", {"codec": "flv", "options": {"g": "10", "b": "2000000"}}),
    "wmv2": (".asf", {"codec": "wmv2", "options": {"g": "10", "b": "2000000"}}),
    "mpeg2": (
        ".ts",
        {
            "codec": "mpeg2video",
            "rate": 25,
            "options": {"g": "10", "bf": "2", "b": "2000000", "sc_threshold": "1000000000"},
        },
    ),
}


@pytest.mark.parametrize("kind", LATE)
def test_pictures_before_the_first_key_frame_are_left_out_and_noted(tmp_path: Path, kind: str) -> None:
    """Some decoders build them on grey, and say nothing."""
    suffix, options = LATE[kind]
    source = clips.write(tmp_path / f"a{suffix}", 30, **options)
    path = tmp_path / f"b{suffix}"
    with av.open(str(source)) as file, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        for number, packet in enumerate(p for p in file.demux(video=0) if p.size):
            if number >= 3:
                packet.stream = stream
                out.mux(packet)
    info, arrays = probe(str(path), "v", ReadOptions())
    frames = read_frames(info, arrays["video.index"], arrays["video.pts"], 0, info.num_frames, threads=2)
    first = clips.number_of(frames[0])
    assert first in (9, 10, 12), "a group begins with a key frame, and B-frames before it need the last group"
    np.testing.assert_allclose([clips.number_of(frame) for frame in frames], np.arange(first, 30), atol=1)
    np.testing.assert_allclose(np.diff(arrays["video.time"]), 1 / options.get("rate", 10), atol=2e-3)
    (note,) = info.notes
    assert "pictures of the file need earlier ones that are missing, and are left out" in note


def transport(path: Path, start: int) -> list[bytes]:
    """The packets of a transport stream of 24 frames that begins at `start` / 10 s; their numbers begin anew."""
    container = {"output_ts_offset": str(start / 10)}
    data = clips.write(path, 24, options=GROUPS | {"g": "12"}, container=container).read_bytes()
    return [data[k : k + 188] for k in range(0, len(data), 188)]


def test_joined_pieces_of_a_transport_stream_are_whole(tmp_path: Path) -> None:
    """As a list of HLS pieces is, one after the other."""
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(transport(tmp_path / "a.ts", 0) + transport(tmp_path / "b.ts", 24)[3:]))
    info, arrays = probe(str(path), "v")
    frames = read_frames(info, arrays["video.index"], arrays["video.pts"], 0, info.num_frames)
    assert [clips.number_of(frame) for frame in frames] == [*range(24), *range(24)]
    assert "joined from pieces" in info.notes[0]


def test_lost_packets_of_a_transport_stream_are_damage_or_noted(tmp_path: Path) -> None:
    packets = transport(tmp_path / "a.ts", 0)
    starts = [k for k, packet in enumerate(packets) if packet[1:3] == b"\x41\x00"]  # of pictures
    assert len(starts) == 24 and packets[starts[12] + 1][1:3] == b"\x01\x00", "the second key frame is in two packets"
    path = tmp_path / "lost.ts"
    for gone in (starts[7], starts[12], starts[12] + 1):  # a picture, the start of a key frame, its end
        path.write_bytes(b"".join(packets[:gone] + packets[gone + 1 :]))
        with pytest.raises(InputError, match=r"lost\.ts (is damaged \d\.\d0 s after its start|cannot be decoded)"):
            info, arrays = probe(str(path), "v")
            read_frames(info, arrays["video.index"], arrays["video.pts"], 0, info.num_frames)
    gone = starts[11]  # a whole picture before a key frame: nothing else needs it
    path.write_bytes(b"".join(packets[:gone] + packets[gone + 1 :]))
    info, _ = probe(str(path), "v")
    assert info.num_frames == 23 and "or pictures are missing there" in info.notes[0]
