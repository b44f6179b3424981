"""Colours: every matrix and range, and what is wider or brighter than BT.709, against formulas in double precision."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import hdr_clips
import numpy as np
import pytest
from hdr_clips import HLG, PQ

from geoflow.errors import InputError
from geoflow.segments import VideoInfo
from geoflow.video import colour
from geoflow.video.frame_reader import read_frames
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe

# 8-bit codes: quantised Y'CbCr of 10 bits is worth 0.3, the tables' steps and rounding 0.75 (1.1 together, at most 2).
HDR_TOLERANCE = 2.0
# R'G'B' from 8-bit Y'CbCr: half a step of each of three numbers, times 1.16 to 2.1, and FFmpeg's integers.
SDR_TOLERANCE = 3.0

GREYS = np.repeat(np.array([1.0, 5.0, 26.0, 92.0, 203.0, 500.0, 990.0])[:, None], 3, axis=1)  # cd/m²
SKIN, RED, SKY = [60.0, 38.0, 26.0], [300.0, 90.0, 60.0], [90.0, 140.0, 260.0]
LIGHT = np.concatenate([GREYS, [SKIN, RED, SKY]])
RGB = np.array([[0.1, 0.1, 0.1], [0.5, 0.5, 0.5], [0.9, 0.9, 0.9], [0.8, 0.3, 0.2], [0.2, 0.6, 0.3], [0.1, 0.2, 0.7]])


def read(path: Path, count: int, **options: object) -> tuple[VideoInfo, np.ndarray]:
    info, arrays = probe(str(path), "v", ReadOptions(**options))  # type: ignore[arg-type]
    frame = read_frames(info, arrays["video.index"], arrays["video.pts"], 1, 2)[0]
    return info, hdr_clips.seen(frame, count)


@pytest.mark.parametrize("transfer", [PQ, HLG], ids=["pq", "hlg"])
@pytest.mark.parametrize("codec", ["ffv1", "libx265"])
def test_hdr_is_tone_mapped_as_stated(tmp_path: Path, transfer: int, codec: str) -> None:
    signal = hdr_clips.pq_of(LIGHT) if transfer == PQ else hdr_clips.hlg_of_light(LIGHT)
    lossy = {"chroma": "420", "options": {"x265-params": "log-level=none:lossless=1:pools=1"}}
    how = lossy if codec == "libx265" else {}
    path = tmp_path / ("a.mp4" if codec == "libx265" else "a.mkv")
    hdr_clips.write(path, signal, matrix=9, transfer=transfer, primaries=9, codec=codec, **how)
    info, found = read(path, len(LIGHT))
    expected = hdr_clips.sdr_of_light(LIGHT, 1000.0)
    assert np.abs(found - expected).max() <= HDR_TOLERANCE
    assert (
        len(info.notes) == 1
        and "tone-mapped" in info.notes[0]
        and ("HLG" if transfer == HLG else "PQ") in info.notes[0]
    )
    # What it is for: paper is nearly white, skin and greys as bright as on paper, and not the grey of untouched codes.
    assert found[4].min() >= 225 and 105 <= found[2].mean() <= 112 and found[6].min() >= 250


def test_resized_hdr_is_the_same(tmp_path: Path) -> None:
    path = hdr_clips.write(tmp_path / "a.mkv", hdr_clips.pq_of(LIGHT), matrix=9, transfer=PQ, primaries=9)
    _, found = read(path, len(LIGHT), size=(80, 8))
    assert np.abs(found - hdr_clips.sdr_of_light(LIGHT, 1000.0)).max() <= HDR_TOLERANCE


def test_the_films_own_peak_is_used(tmp_path: Path) -> None:
    light = np.concatenate([LIGHT, [[3900.0] * 3]])
    params = "log-level=none:lossless=1:pools=1:hdr10=1:max-cll=4000,400"
    path = hdr_clips.write(
        tmp_path / "a.mp4", hdr_clips.pq_of(light), matrix=9, transfer=PQ, primaries=9, codec="libx265", chroma="420",
        options={"x265-params": params},
    )  # fmt: skip
    info, found = read(path, len(light))
    assert np.abs(found - hdr_clips.sdr_of_light(light, 4000.0)).max() <= HDR_TOLERANCE
    assert "peak 4000" in info.notes[0]


@pytest.mark.parametrize("primaries", [9, 12], ids=["bt2020", "p3"])
def test_wide_colours_of_ordinary_brightness(tmp_path: Path, primaries: int) -> None:
    path = hdr_clips.write(tmp_path / "a.mkv", RGB, matrix=9, transfer=14 if primaries == 9 else 1, primaries=primaries)
    info, found = read(path, len(RGB))
    corners = {
        9: [[0.708, 0.292], [0.170, 0.797], [0.131, 0.046]],
        12: [[0.680, 0.320], [0.265, 0.690], [0.150, 0.060]],
    }
    linear = RGB**2.4 @ hdr_clips.to_709(np.array(corners[primaries])).T
    assert np.abs(found - 255 * np.clip(linear, 0, 1) ** (1 / 2.4)).max() <= HDR_TOLERANCE
    assert "converted to BT.709" in info.notes[0]


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [1, 5], ids=["bt709", "bt601"])
def test_matrices_and_ranges(tmp_path: Path, matrix: int, full: bool, bits: int) -> None:
    path = hdr_clips.write(tmp_path / "a.mkv", RGB, matrix=matrix, full=full, bits=bits)
    info, found = read(path, len(RGB))
    assert np.abs(found - 255 * RGB).max() <= SDR_TOLERANCE and info.notes == ()


def test_what_names_no_matrix_is_taken_as_players_take_it(tmp_path: Path) -> None:
    small = hdr_clips.write(tmp_path / "small.mkv", RGB, matrix=5, bits=8, tagged=False)
    info, found = read(small, len(RGB))
    assert np.abs(found - 255 * RGB).max() <= SDR_TOLERANCE and info.notes == ()
    large = hdr_clips.write(tmp_path / "large.mkv", RGB, matrix=1, bits=8, tagged=False, scale=14)
    info, found = read(large, len(RGB))
    assert info.width >= 1280 and np.abs(found - 255 * RGB).max() <= SDR_TOLERANCE
    assert "does not name its colour matrix: BT.709" in info.notes[0]


def frame(**tags: object) -> SimpleNamespace:
    form = SimpleNamespace(is_rgb=False, name="yuv420p10le", components=(0, 1, 2))
    usual = {"color_trc": 1, "color_primaries": 1, "colorspace": 1, "width": 64, "height": 48, "side_data": {}}
    return SimpleNamespace(**(usual | tags), format=form)


def test_dolby_vision_counts_by_its_base() -> None:
    based = frame(color_trc=HLG, color_primaries=9, colorspace=9, side_data={"DOVI_METADATA": b"8.4"})
    signal = colour.signal_of(based)
    assert signal.is_hdr and "HLG" in (signal.note() or "") and colour.unreadable(signal, based) is None
    alone = frame(color_trc=2, color_primaries=2, colorspace=2, side_data={"DOVI_METADATA": b"5"})
    assert "profile 5" in (colour.unreadable(colour.signal_of(alone), alone) or "")


def test_colours_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    path = hdr_clips.write(tmp_path / "a.mkv", RGB, matrix=1, primaries=9)
    data = path.read_bytes()
    place = data.find(b"\x55\xb1\x81\x01")  # Matroska: MatrixCoefficients, one byte
    assert place > 0
    path.write_bytes(data[: place + 3] + b"\x0e" + data[place + 4 :])
    with pytest.raises(InputError, match=r"a\.mkv cannot be shown in its colours: .*ICtCp"):
        probe(str(path), "v")


def test_mastering_screens_tell_the_peak_where_nothing_better_does() -> None:
    import struct

    screen = struct.pack("=22i", *[0] * 18, 40000000, 10000, 0, 1)
    light = frame(color_trc=PQ, side_data={"MASTERING_DISPLAY_METADATA": screen})
    assert colour.signal_of(light).peak == 4000.0
    assert colour.signal_of(frame(color_trc=PQ)).peak == colour.PEAK
    both = {"MASTERING_DISPLAY_METADATA": screen, "CONTENT_LIGHT_LEVEL": struct.pack("=II", 650, 100)}
    assert colour.signal_of(frame(color_trc=PQ, side_data=both)).peak == 650.0


def test_films_that_geoflow_writes_name_their_matrix(tmp_path: Path) -> None:
    """Large enough that players would take what names none for BT.709."""
    from geoflow.export.mp4 import write_mp4
    from geoflow.synth.clip_files import _VideoWriter

    image = np.repeat((255 * RGB).round().astype(np.uint8)[None], 64, axis=0).repeat(240, axis=1)
    write_mp4(tmp_path / "export.mp4", [image] * 2, Fraction(10))
    writer = _VideoWriter(tmp_path / "synth.mp4", image.shape[1], image.shape[0], 10)
    for _ in range(2):
        writer.write(image)
    writer.close()
    for name in ("export.mp4", "synth.mp4"):
        info, found = read(tmp_path / name, len(RGB))
        assert info.width >= 1280 and info.notes == ()
        assert np.abs(found - 255 * RGB).max() <= SDR_TOLERANCE + 2  # and the encoder's loss
