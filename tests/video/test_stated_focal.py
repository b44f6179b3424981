"""Focal lengths that files state about themselves: EXIF of pictures, and the metadata of phones' videos."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import write

from geoflow.segments import VideoInfo
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe
from geoflow.video.stated_focal import focal_35_of_picture, focal_35_of_video

KEY = b"com.apple.quicktime.camera.focal_length.35mm_equivalent"


def _exif(focal: int, order: str = "<") -> bytes:
    """A TIFF block whose first directory names an EXIF directory with FocalLengthIn35mmFilm."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    first = struct.pack(order + "HHHII", 1, 0x8769, 4, 1, 26) + bytes(4)
    return mark + struct.pack(order + "I", 8) + first + struct.pack(order + "HHHIHH", 1, 0xA405, 3, 1, focal, 0)


def _jpeg(focal: int | None, order: str = "<", size: tuple[int, int] = (48, 64)) -> bytes:
    data = cv2.imencode(".jpg", np.full((*size, 3), 90, np.uint8))[1].tobytes()
    if focal is None:
        return data
    block = b"Exif\0\0" + _exif(focal, order)
    return data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:]


def _box(kind: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + kind + content


def _meta(kind: int, value: bytes, version: bytes) -> bytes:
    names = (8 + len(KEY)).to_bytes(4, "big") + b"mdta" + KEY
    keys = _box(b"keys", bytes(4) + (1).to_bytes(4, "big") + names)
    item = _box((1).to_bytes(4, "big"), _box(b"data", kind.to_bytes(4, "big") + bytes(4) + value))
    return _box(b"meta", version + _box(b"hdlr", bytes(25)) + keys + _box(b"ilst", item))


def _with_meta(clip: bytes, meta: bytes) -> bytes:
    """Put a box into the first track of a file whose `moov` is the last box, so that no place of a picture moves."""
    moov = clip.rindex(b"moov") - 4
    track = clip.index(b"trak", moov) - 4
    assert moov + int.from_bytes(clip[moov : moov + 4], "big") == len(clip)
    end = track + int.from_bytes(clip[track : track + 4], "big")
    out = bytearray(clip[:end] + meta + clip[end:])
    for place in (moov, track):
        out[place : place + 4] = (int.from_bytes(out[place : place + 4], "big") + len(meta)).to_bytes(4, "big")
    return bytes(out)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write(path, 4)
    return path.read_bytes()


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_picture_states_its_focal_length(order: str) -> None:
    assert focal_35_of_picture(_jpeg(26, order)) == 26
    assert focal_35_of_picture(_exif(26, order)) == 26  # a TIFF picture


@pytest.mark.parametrize(
    "data", [_jpeg(None), _jpeg(0), _jpeg(9000), _jpeg(26)[:40], _exif(26)[:20], b"\xff\xd8", b"", b"\x89PNG"]
)
def test_what_states_nothing_sensible_gives_no_focal_length(data: bytes) -> None:
    assert focal_35_of_picture(data) is None


@pytest.mark.parametrize(
    "kind, value", [(1, b"26.00mm"), (21, b"\x1a"), (22, bytes(3) + b"\x1a"), (23, struct.pack(">f", 26))]
)
@pytest.mark.parametrize("version", [b"", bytes(4)])
def test_a_phones_video_states_it_in_its_track(
    film: bytes, tmp_path: Path, kind: int, value: bytes, version: bytes
) -> None:
    path = tmp_path / "phone.mov"
    path.write_bytes(_with_meta(film, _meta(kind, value, version)))
    assert focal_35_of_video(str(path), {}) == 26


def test_other_videos_and_damaged_boxes_state_none(film: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.mp4"
    for data in (film, _with_meta(film, _box(b"meta", b"\0\0")), _with_meta(film, _meta(23, b"\0", b"")), b"moov"):
        path.write_bytes(data)
        assert focal_35_of_video(str(path), {}) is None


def _probed(source: Path, **options: object) -> VideoInfo:
    return probe(str(source), "clip", ReadOptions(**options))[0]  # type: ignore[arg-type]


def test_a_video_carries_the_focal_length_in_pixels_of_its_frames(film: bytes, tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    path.write_bytes(_with_meta(film, _meta(1, b"27", bytes(4))))
    diagonal = np.hypot(36, 24)
    assert _probed(path).stated_focal == pytest.approx(27 / diagonal * 80)
    assert _probed(path, long_side=32).stated_focal == pytest.approx(27 / diagonal * 40)
    assert _probed(path, intrinsics=(70.0, 70.0, 31.5, 23.5)).stated_focal is None  # a known lens needs no hint


@pytest.mark.parametrize("focal, stated", [([26, 26, None], 26), ([26, 52, 26], None), ([None] * 3, None)])
def test_a_folder_carries_it_if_its_pictures_agree(tmp_path: Path, focal: list[int | None], stated: int | None) -> None:
    for k, one in enumerate(focal):
        (tmp_path / f"{k}.jpg").write_bytes(_jpeg(one))
    expected = None if stated is None else pytest.approx(stated / np.hypot(36, 24) * 80)
    info = _probed(tmp_path)
    assert info.stated_focal == expected
    assert ("stated_focal" in info.content()) is (stated is not None)  # nothing changes for the others
