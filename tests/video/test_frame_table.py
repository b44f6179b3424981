"""Files whose packets do not tell their frames: every frame is there once, at its true time, and found quickly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import clips
import numpy as np
import odd_clips
import pytest

from geoflow import fields
from geoflow.errors import InputError
from geoflow.segments import VideoInfo
from geoflow.video import decoding, frame_table, table_cache
from geoflow.video.frame_reader import read_frames, read_numbered
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe

CASES = Path(__file__).parents[3] / "shared" / "cases"


@pytest.fixture(autouse=True)
def no_tables() -> None:
    table_cache.frame_table.cache_clear()


def read_all(path: Path, **options: Any) -> tuple[VideoInfo, dict[str, np.ndarray], np.ndarray]:
    info, arrays = probe(str(path), "v", ReadOptions(**options))
    fields.check(arrays, tuple(arrays), who="probe")
    frames = read_frames(info, arrays["video.index"], arrays["video.pts"], 0, info.num_frames)
    # Any part equals that part of the whole, with the table that was handed on and with that of the cache.
    for start, stop in ((0, 2), (info.num_frames // 2, info.num_frames), (info.num_frames - 1, info.num_frames)):
        for seek in {id(a): a for a in (None, arrays.get("video.seek"))}.values():
            part = read_frames(info, arrays["video.index"], arrays["video.pts"], start, stop, seek=seek, threads=2)
            np.testing.assert_array_equal(part, frames[start:stop])
    return info, arrays, frames


def numbers(frames: np.ndarray) -> list[int]:
    return [clips.number_of(frame) for frame in frames]


# Packets that are not frames

PACKETS: dict[str, Callable[[Path], Path]] = {
    "vp9-hidden": lambda folder: odd_clips.hidden_vp9(folder / "a.ivf", 30),
    "av1-hidden": lambda folder: odd_clips.split_av1(folder / "a.ivf", 30),
    "divx-packed": lambda folder: odd_clips.packed(folder / "a.avi", 30),
}


@pytest.mark.parametrize("kind", PACKETS)
def test_the_decoder_says_what_a_frame_is(tmp_path: Path, kind: str) -> None:
    info, _, frames = read_all(PACKETS[kind](tmp_path))
    assert info.num_frames == 30
    np.testing.assert_allclose(numbers(frames), np.arange(30), atol=1)  # lossy: the grey of a frame is 5 levels


@pytest.mark.parametrize("suffix", ["ts", "mkv", "mp4"])
def test_field_pairs_are_frames(suffix: str) -> None:
    path = CASES / "paff_field_stamps" / f"paff_field.{suffix}"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    info, arrays, frames = read_all(path)
    assert info.num_frames == 16 and info.fps == pytest.approx(25)
    np.testing.assert_allclose(arrays["video.time"], np.arange(16) / 25, atol=1e-3)
    assert len({frame.tobytes() for frame in frames}) == 16
    np.testing.assert_array_equal(read_numbered(str(path), np.array([3, 9]), (64, 64)), frames[[3, 9]])


def test_pictures_left_out_take_time(tmp_path: Path) -> None:
    info, arrays, frames = read_all(odd_clips.with_gaps(tmp_path / "a.avi", (5, 12)))
    assert info.num_frames == 20
    ticks = np.arange(20) + (np.arange(20) > 5) + (np.arange(20) > 12)
    np.testing.assert_allclose(arrays["video.time"], ticks / 10, atol=1e-6)
    np.testing.assert_allclose(numbers(frames), np.arange(20), atol=1)


def test_rate_and_limit(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.avi", 40)
    _, arrays, frames = read_all(path, fps=5.0, limit=7)
    assert numbers(frames) == [0, 2, 4, 6, 8, 10, 12] == arrays["video.index"].tolist()
    assert arrays["video.seek"].shape == (7, 5)


def test_a_bare_stream_says_that_its_times_are_counted(tmp_path: Path) -> None:
    info, _, _ = read_all(clips.write(tmp_path / "a.h264"))
    assert "carries no time stamps" in info.notes[0] and "counted at 10 frames per second" in info.notes[0]
    info, _, _ = read_all(clips.write(tmp_path / "a.mjpeg", codec="mjpeg", pixels="yuvj420p"))
    assert "counted at 25 frames per second" in info.notes[0]  # what FFmpeg assumes
    assert not read_all(clips.write(tmp_path / "a.avi"))[0].notes  # an AVI's times are its ticks


# Stamps that cannot be

TRUE = [0, 100, 200, 300, 700, 800, 900, 1000, 1100, 1200]
STAMPS: dict[str, tuple[list[int], list[int]]] = {
    "sound": (TRUE, []),
    "twice": ([*TRUE[:5], 700, *TRUE[6:]], [5]),
    "backwards": ([*TRUE[:5], 250, *TRUE[6:]], [5]),
    "far-ahead": ([*TRUE[:5], 30000, *TRUE[6:]], [5]),
    "three-of-ten": ([0, 0, 200, 300, 300, 800, 900, 900, 1100, 1200], [1, 4, 7]),
}


@pytest.mark.parametrize("kind", STAMPS)
def test_true_times_stay_and_the_others_are_noted(tmp_path: Path, kind: str) -> None:
    ticks, bad = STAMPS[kind]
    info, arrays, frames = read_all(odd_clips.restamped(tmp_path / "a.mkv", ticks))
    time, good = arrays["video.time"], np.setdiff1d(np.arange(10), bad)
    np.testing.assert_allclose(time[good], np.array(TRUE)[good] / 1000, atol=1e-6)
    np.testing.assert_allclose(time[bad], [(time[k - 1] + time[k + 1]) / 2 for k in bad], atol=1e-6)
    assert numbers(frames) == list(range(10))
    assert len(info.notes) == bool(bad) and all("repeated or out of order" in note for note in info.notes)


def test_constant_stamps_are_noted(tmp_path: Path) -> None:
    info, arrays, _ = read_all(odd_clips.restamped(tmp_path / "a.mkv", [500] * 10))
    np.testing.assert_allclose(np.diff(arrays["video.time"]), 0.1, atol=1e-3)
    assert "not measured, but counted" in info.notes[-1]


def test_stamps_that_are_missing(tmp_path: Path) -> None:
    """With B-frames FFmpeg cannot fill them in."""
    ticks = [*range(10), *range(15, 25)]
    info, arrays, frames = read_all(odd_clips.unstamped(tmp_path / "a.ts", (3, 4, 11), ticks))
    missing = np.flatnonzero(np.abs(arrays["video.time"] - np.array(ticks) / 10) > 1e-3)
    assert numbers(frames) == list(range(20)) and len(missing) <= 3
    assert (np.diff(arrays["video.time"]) > 0).all() and "3 missing" in info.notes[0]


# Linear in the video's length


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen, plain = [], frame_table.decoded

    def counting(*args: Any) -> Any:
        for item in plain(*args):
            seen.append(1)
            yield item

    monkeypatch.setattr(frame_table, "decoded", counting)
    return seen


@pytest.mark.parametrize("name", ["a.avi", "a.h264"])
@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_any_part_costs_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, count: int) -> None:
    path = clips.write(tmp_path / name, count, options={"preset": "ultrafast", "bf": "2", "g": "12"})
    info, arrays = probe(str(path), "v")
    assert info.num_frames == count
    seen, costs = count_decoded(monkeypatch), []
    for start in (0, count // 2 - 48, count - 96):
        seen.clear()
        frames = read_frames(info, arrays["video.index"], arrays["video.pts"], start, start + 96)
        assert clips.number_of(frames[0]) == start % 45 and clips.number_of(frames[-1]) == (start + 95) % 45
        costs.append(len(seen))
    assert max(costs) <= 96 + 12 + 3 and max(costs) <= 1.2 * min(costs), costs


def test_a_film_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clips.write(tmp_path / "a.avi", 60)
    seen = count_decoded(monkeypatch)
    info, arrays = probe(str(path), "v")
    assert len(seen) == 60
    table_cache.frame_table.cache_clear()  # another process
    seen.clear()
    again, _ = probe(str(path), "v")
    frames = read_frames(info, arrays["video.index"], arrays["video.pts"], 40, 44)
    assert again == info and numbers(frames) == [40, 41, 42, 43] and len(seen) < 16


def test_a_cache_that_is_torn_or_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clips.write(tmp_path / "a.avi", 20)
    monkeypatch.setenv("GEOFLOW_CACHE", str(tmp_path / "cache"))
    info, _ = probe(str(path), "v")
    (kept,) = (tmp_path / "cache" / "frames").glob("*.npz")
    for broken in (kept.read_bytes()[:100], b"", b"PK\3\4 no table"):
        kept.write_bytes(broken)
        table_cache.frame_table.cache_clear()
        assert probe(str(path), "v")[0] == info
    table_cache.frame_table.cache_clear()
    monkeypatch.setenv("GEOFLOW_CACHE", str(path / "no folder"))
    assert probe(str(path), "v")[0] == info


def test_a_seek_that_leads_elsewhere_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a container cannot be trusted to seek, packets are counted from its beginning."""
    path = clips.write(tmp_path / "a.avi", 60)
    info, arrays = probe(str(path), "v")
    seek = arrays["video.seek"].copy()
    seek[:, 1] += 1  # no packet lies there
    frames = read_frames(info, arrays["video.index"], arrays["video.pts"], 40, 44, seek=seek)
    assert numbers(frames) == [40, 41, 42, 43]


def test_a_key_frame_that_does_not_suffice(tmp_path: Path) -> None:
    """Decoding starts further back until the frame comes out whole."""
    path = clips.write(tmp_path / "a.avi", 60)
    info, arrays = probe(str(path), "v")
    _, _, right = read_all(path)
    seek = arrays["video.seek"].copy()
    late = seek[:, 0] == seek[40, 0]
    seek[late, :3] = seek[54, :3]  # a later one
    frames = read_frames(info, arrays["video.index"], arrays["video.pts"], 40, 44, seek=seek)
    np.testing.assert_array_equal(frames, right[40:44])


def test_damage_is_named(tmp_path: Path) -> None:
    path = clips.cut(clips.write(tmp_path / "a.h264"), tmp_path / "cut.h264", 0.9)
    with pytest.raises(InputError, match=r"frame \d+ of .*cut\.h264 cannot be decoded"):
        decoding.index_file(str(path))
