"""A file is refused on evidence that frames are lost; what else is odd about it is noted."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import clips
import cv2
import numpy as np
import odd_clips
import pytest

from geoflow.errors import InputError
from geoflow.video.frame_reader import read_frames
from geoflow.video.probe import probe

SOUND: dict[str, dict[str, Any]] = {
    "a.mp4": {},
    "fast.mp4": {"container": {"movflags": "faststart"}},
    "pieces.mp4": {"container": {"movflags": "frag_keyframe+empty_moov"}},
    "a.mov": {},
    "a.mkv": {},
    "live.mkv": {"container": {"live": "1"}},
    "a.webm": {"codec": "libvpx"},
    "a.avi": {},
    "part4.avi": {"codec": "mpeg4"},
    "a.flv": {},
    "a.gif": {"codec": "gif", "pixels": "pal8"},
    "a.ts": {},
    "a.ogv": {"codec": "libvpx"},
    "a.mpg": {"codec": "mpeg2video", "rate": 25},
    "a.h264": {},
}
JUNK = {
    "words": b"appended by some site " * 10,
    "zeros": b"\0" * 5000,
    "noise": np.random.default_rng(1).integers(0, 256, 3000, np.uint8).tobytes(),
    "page": b"<html><body>404</body></html>\n",
}


def look(path: Path) -> tuple[list[int], tuple[str, ...]]:
    """The numbers of a file's frames, and the notes on it."""
    info, arrays = probe(str(path), "v")
    frames = read_frames(info, arrays["video.index"], arrays["video.pts"], 0, info.num_frames)
    return [clips.number_of(frame) for frame in frames], info.notes


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("name", SOUND)
def test_bytes_after_the_end_cost_nothing(tmp_path: Path, name: str, junk: str) -> None:
    whole = clips.write(tmp_path / name, 12, **SOUND[name])
    expected, notes = look(whole)
    found, more = look(odd_clips.edited(whole, tmp_path / f"junk-{name}", lambda data: data + JUNK[junk]))
    assert found == expected and len(found) == 12
    told = name.rpartition(".")[2] in ("mp4", "mov", "mkv", "webm", "avi", "flv", "gif", "ogv") and junk != "zeros"
    assert len(more) == len(notes) + told, more
    assert not told or f"{len(JUNK[junk])} bytes that belong to nothing" in " ".join(more)


def test_a_gif_without_its_last_byte(tmp_path: Path) -> None:
    whole = clips.write(tmp_path / "a.gif", 12, codec="gif", pixels="pal8")
    expected, _ = look(whole)
    for name, change in {"open": lambda d: d[:-1], "more": lambda d: d[:-1] + JUNK["words"]}.items():
        found, notes = look(odd_clips.edited(whole, tmp_path / f"{name}.gif", change))
        assert found == expected and "lacks the byte that closes a GIF" in notes[0]


def flv_number(name: bytes, value: float) -> Any:
    def change(data: bytes) -> bytes:
        at = data.find(name + b"\0") + len(name) + 1
        return data[:at] + struct.pack(">d", value) + data[at + 8 :]

    return change


@pytest.mark.parametrize("seconds", [2147483.63, 1e300, float("nan"), -5.0, 0.001, 3.9])
def test_a_wrong_duration_in_a_header(tmp_path: Path, seconds: float) -> None:
    whole = clips.write(tmp_path / "a.flv", 12)
    found, notes = look(odd_clips.edited(whole, tmp_path / "b.flv", flv_number(b"duration", seconds)))
    assert len(found) == 12
    assert not notes or "header says that it lasts" in notes[0]
    assert notes or not 1.5 < seconds < 1e7


def test_a_wrong_duration_in_matroska(tmp_path: Path) -> None:
    def change(data: bytes) -> bytes:
        at = data.find(b"\x44\x89\x88") + 3
        return data[:at] + struct.pack(">d", 9e6) + data[at + 8 :]

    found, notes = look(odd_clips.edited(clips.write(tmp_path / "a.mkv", 12), tmp_path / "b.mkv", change))
    assert len(found) == 12 and "lasts 9000.0 s" in notes[0]


def test_a_wrong_size_in_the_header_of_an_avi(tmp_path: Path) -> None:
    def change(data: bytes) -> bytes:
        return data[:4] + struct.pack("<I", 2 * len(data)) + data[8:]

    found, notes = look(odd_clips.edited(clips.write(tmp_path / "a.avi", 12), tmp_path / "b.avi", change))
    assert len(found) == 12 and "all of its pictures are there" in notes[0]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("name", [n for n in SOUND if not n.endswith((".ts", ".mpg", ".h264"))])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, name: str, share: float) -> None:
    whole = clips.write(tmp_path / name, 30, **SOUND[name])
    cut = clips.cut(whole, tmp_path / f"cut-{name}", share)
    with pytest.raises(InputError, match=r"cut off|damaged|not a video"):
        probe(str(cut), "v")


def test_an_flv_that_was_cut_between_two_frames(tmp_path: Path) -> None:
    """Every tag is whole, but the header's length and bytes agree that there was more."""
    data = clips.write(tmp_path / "a.flv", 30).read_bytes()
    at, ends = 13, []
    while at < len(data):
        at += 11 + int.from_bytes(data[at + 1 : at + 4], "big") + 4
        ends.append(at)
    (tmp_path / "b.flv").write_bytes(data[: ends[len(ends) // 2]])
    with pytest.raises(InputError, match="cut off: its headers promise"):
        probe(str(tmp_path / "b.flv"), "v")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
def test_bytes_after_a_picture_cost_nothing(tmp_path: Path, suffix: str) -> None:
    folder = clips.frame_folder(tmp_path / "frames", 4, suffix)
    expected, _ = look(folder)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes() + JUNK["words"])
    assert look(folder)[0] == expected
    assert cv2.imread(str(next(folder.iterdir()))) is not None


# Ogg


def ogg(path: Path) -> Path:
    return clips.write(
        path, 30, codec="libvpx", options={"g": "6", "auto-alt-ref": "0"}, container={"page_duration": "1"}
    )


def test_an_ogg_file_that_was_cut(tmp_path: Path) -> None:
    whole = ogg(tmp_path / "a.ogv")
    right, notes = look(whole)
    assert len(right) == 30 and not notes
    pages = [match.start() for match in re.finditer(b"OggS", whole.read_bytes())]
    between = odd_clips.edited(whole, tmp_path / "b.ogv", lambda data: data[: pages[-4]])
    found, notes = look(between)
    assert found == right[: len(found)] and 20 < len(found) < 30
    assert "ends before its streams are marked as ended" in notes[0]
    for share in (0.35, 0.8):
        with pytest.raises(InputError, match="is cut off: its last page is not whole"):
            look(clips.cut(whole, tmp_path / "c.ogv", share))


def test_a_page_that_ffmpeg_would_leave_out(tmp_path: Path) -> None:
    whole = ogg(tmp_path / "a.ogv")
    at = whole.stat().st_size // 2

    def flipped(data: bytes) -> bytes:
        return data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :]

    with pytest.raises(InputError, match=r"b\.ogv is damaged: the checksum of its page at byte \d+ is wrong"):
        look(odd_clips.edited(whole, tmp_path / "b.ogv", flipped))
    start = whole.read_bytes().find(b"OggS", at)
    with pytest.raises(InputError, match=r"c\.ogv is damaged: no page begins at byte \d+"):
        look(odd_clips.edited(whole, tmp_path / "c.ogv", lambda data: data[:start] + b"o" + data[start + 1 :]))


# MXF


def test_an_mxf_file_that_was_cut(tmp_path: Path) -> None:
    whole = clips.write(tmp_path / "a.mxf", 30, rate=25, codec="mpeg2video", pixels="yuv422p")
    right, notes = look(whole)
    assert len(right) == 30 and not any("may have been longer" in note for note in notes)
    for share in (0.3, 0.5, 0.7):
        with pytest.raises(InputError, match="is cut off: its headers promise"):
            look(clips.cut(whole, tmp_path / "b.mxf", share))
    picture = b"\x06\x0e\x2b\x34\x01\x02\x01\x01\x0d\x01\x03\x01\x15"
    at = [match.start() for match in re.finditer(re.escape(picture), whole.read_bytes())]
    found, notes = look(odd_clips.edited(whole, tmp_path / "c.mxf", lambda data: data[: at[-6]]))
    assert 10 < len(found) < 30 and any("lacks its footer" in note for note in notes)
