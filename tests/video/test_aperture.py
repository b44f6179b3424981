"""Cropping that containers state: the picture is the one that players show."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import clips
import cv2
import hdr_clips
import numpy as np
import pytest

from geoflow.segments import VideoInfo
from geoflow.video import aperture
from geoflow.video.aperture import Aperture, iso_apertures, matroska_apertures, stated_aperture
from geoflow.video.container import open_video
from geoflow.video.frame_reader import read_frames, read_masks
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe

CASE = Path(__file__).parents[3] / "shared" / "cases" / "mkv_pixel_crop" / "crop.mkv"
SHADES = np.repeat(np.linspace(0.1, 0.9, 6)[:, None], 3, axis=1)  # six patches of 16 px
BOTTOM, TOP, LEFT, RIGHT, DISPLAY_WIDTH, DISPLAY_HEIGHT = 0x54AA, 0x54BB, 0x54CC, 0x54DD, 0x54B0, 0x54BA


def matroska(path: Path, **numbers: int) -> Path:
    """Six patches, 96x16; in the place of the colours' description the track says `numbers` of itself."""
    hdr_clips.write(path, SHADES, matrix=1, bits=8)
    data = path.read_bytes()
    start = data.find(b"\x55\xb0")  # Colour
    size = 3 + (data[start + 2] & 0x7F)
    elements = b"".join(struct.pack(">HBB", globals()[name.upper()], 0x81, n) for name, n in numbers.items())
    rest = size - len(elements)
    assert data[start + 2] > 0x80 and rest >= 2
    path.write_bytes(
        data[:start] + elements + bytes([0xEC, 0x80 | (rest - 2)]) + bytes(rest - 2) + data[start + size :]
    )
    return path


def mp4(
    path: Path, width: float, height: float, x: float = 0, y: float = 0, shown: tuple[int, int] | None = None
) -> Path:
    """Six patches with a clean aperture; `shown` is the size in the track's header."""
    hdr_clips.write(path, SHADES, matrix=1, bits=8, codec="libx264", chroma="444", options={"qp": "0"})
    fractions = [n for value in (width, height, x, y) for n in (round(value * 2), 2)]
    box = struct.pack(">I4s8i", 40, b"clap", *fractions)
    data = bytearray(path.read_bytes())
    entry = data.find(b"avc1", data.find(b"stsd")) - 4
    if (pasp := data.find(b"pasp", entry)) > 0 and shown is not None:
        data[pasp : pasp + 4] = b"free"
    if shown is not None:
        header = data.find(b"tkhd")
        header += int.from_bytes(data[header - 4 : header], "big") - 12
        data[header : header + 8] = struct.pack(">II", shown[0] << 16, shown[1] << 16)
    place = entry + 86
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        at = data.find(kind, data.find(b"moov")) - 4
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "big") + len(box)).to_bytes(4, "big")
    path.write_bytes(data[:place] + box + data[place:])
    return path


def read(path: Path, **options: object) -> tuple[VideoInfo, np.ndarray]:
    info, arrays = probe(str(path), "v", ReadOptions(**options))  # type: ignore[arg-type]
    return info, read_frames(info, arrays["video.index"], arrays["video.pts"], 0, 1)[0]


def patches(frame: np.ndarray) -> list[float]:
    return (hdr_clips.seen(frame, frame.shape[1] // 16)[:, 0] / 255).round(1).tolist()


@pytest.mark.parametrize("make", [matroska, mp4], ids=["matroska", "mp4"])
def test_the_container_crops(tmp_path: Path, make: Callable[..., Path]) -> None:
    # The patches 0.26, 0.42 and 0.58 remain: one is cut on the left, two on the right, and 4 and 2 lines.
    if make is matroska:
        path = matroska(tmp_path / "a.mkv", left=16, right=32, top=4, bottom=2)
    else:
        path = mp4(tmp_path / "a.mp4", 48, 10, x=-8, y=1)
    info, frame = read(path, intrinsics=(50.0, 50.0, 23.5, 4.5))
    assert frame.shape == (10, 48, 3) and (info.source_width, info.source_height) == (48, 10)
    assert patches(frame) == [0.3, 0.4, 0.6]
    assert info.intrinsics == (50.0, 50.0, 23.5, 4.5)  # pixels of what is shown
    assert info.notes == ("Pictures of 96x16 are cropped to 48x10 as the container says.",)
    info, frame = read(path, size=(24, 5), intrinsics=(50.0, 50.0, 23.5, 4.5))
    assert frame.shape == (5, 24, 3) and info.intrinsics == (25.0, 25.0, 11.5, 2.0)  # the middle stays the middle


def test_a_turned_picture_is_cropped_as_it_is_stored(tmp_path: Path) -> None:
    path = mp4(tmp_path / "a.mp4", 48, 16, x=-8)
    turned = clips.with_matrix(path, tmp_path / "turned.mp4", 0, 1, -1, 0)  # clockwise: left becomes top
    info, frame = read(turned)
    assert frame.shape == (48, 16, 3) and info.rotation == 90
    assert patches(frame.swapaxes(0, 1)) == [0.3, 0.4, 0.6]


@pytest.mark.parametrize("turned", [False, True], ids=["upright", "turned"])
def test_masks_are_cropped_as_the_frames_are(tmp_path: Path, turned: bool) -> None:
    """Masks of the stored size show the same parts as masks of the shown size."""
    path = mp4(tmp_path / "a.mp4", 48, 10, x=-8, y=1)
    if turned:
        path = clips.with_matrix(path, tmp_path / "turned.mp4", 0, 1, -1, 0)
    whole = np.random.default_rng(0).integers(0, 2, (16, 96), np.uint8)
    found = []
    for name, mask in (("stored", whole), ("shown", whole[4:14, 16:64])):
        folder = tmp_path / name / "v"
        folder.mkdir(parents=True)
        for k in range(3):
            cv2.imwrite(str(folder / f"{k}.png"), np.rot90(mask, -1) if turned else mask)
        info, arrays = probe(str(path), "v", ReadOptions(masks=str(tmp_path / name)))
        found.append(read_masks(info, arrays["video.index"], 0, 3))
    assert found[0].shape == ((3, 48, 10) if turned else (3, 10, 48)) and 0.4 < found[0].mean() < 0.6
    np.testing.assert_array_equal(*found)


def test_no_cropping_where_none_is_meant(tmp_path: Path) -> None:
    info, frame = read(mp4(tmp_path / "a.mp4", 96, 16))
    assert frame.shape == (16, 96, 3) and info.notes == ()
    assert matroska_apertures(str(matroska(tmp_path / "a.mkv", left=0)))[0].crops is False
    assert iso_apertures(str(clips.write(tmp_path / "plain.mp4", 2))) == {}


def test_cropping_for_pictures_of_another_size_is_left_and_said(tmp_path: Path) -> None:
    path = str(matroska(tmp_path / "a.mkv", left=16, top=4))
    container, stream = open_video(path)
    with container:
        assert stated_aperture(container, stream, path, (16, 96))[0] == Aperture((16, 96), 4, 16, 16, 96)
        assert stated_aperture(container, stream, path, (12, 80)) == (None, None)  # the bit stream says the same
        found, note = stated_aperture(container, stream, path, (16, 64))
    assert found is None and "crops pictures of 96x16 to 80x12, but they are 64x16: nothing is cropped" in str(note)


def test_pixels_keep_their_shape(tmp_path: Path) -> None:
    # A header that gives the size of what is shown would make pixels of 0.78 out of square ones.
    info, frame = read(mp4(tmp_path / "a.mp4", 48, 10, shown=(48, 10)))
    assert frame.shape == (10, 48, 3) and info.pixel_aspect == 1
    info, frame = read(mp4(tmp_path / "b.mp4", 48, 16, shown=(192, 32)))
    assert frame.shape == (16, 96, 3) and info.pixel_aspect == 2
    video = {0xB0: 96, 0xBA: 16, LEFT: 48, DISPLAY_WIDTH: 96, DISPLAY_HEIGHT: 16}
    found = aperture._of_track({kind: bytes([number]) for kind, number in video.items()})
    assert found == Aperture((16, 96), 0, 16, 48, 96, aspect=2.0)


@pytest.mark.skipif(not CASE.is_file(), reason="shared/cases is not beside this checkout")
def test_the_case(tmp_path: Path) -> None:
    info, frame = read(CASE)
    assert frame.shape == (40, 48, 3) and (info.height, info.width) == (40, 48)
