"""A film is read on from where it was left: every frame is decoded about once, and no picture depends on the order."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import clips
import numpy as np
import pytest

from geoflow.errors import SourceChanged
from geoflow.segments import Segment, VideoInfo, plan_segments
from geoflow.stages.decode import Decode
from geoflow.video import cursor, decoding, frame_reader, frame_table
from geoflow.video.cursor import Cursors
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe

ONE_KEY = {"preset": "ultrafast", "bf": "2", "b_strategy": "0", "g": "100000", "sc_threshold": "0"}
FILMS: dict[str, dict[str, Any]] = {
    "a.mp4": {"options": ONE_KEY},
    "a.ts": {"options": ONE_KEY},
    "a.h264": {"options": ONE_KEY},  # has a frame table
    "a.avi": {"codec": "mpeg4", "options": {"bf": "2", "g": "100000", "sc_threshold": "1000000000"}},
    "a.gif": {"codec": "gif", "pixels": "pal8"},
    "a.apng": {"codec": "apng", "pixels": "rgb24"},
}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows by one for every frame that any decoder gives."""
    seen: list[Any] = []
    plain = decoding.decoded

    def counting(*args: Any) -> Iterator[Any]:
        for item in plain(*args):
            seen.append(None)
            yield item

    monkeypatch.setattr(decoding, "decoded", counting)
    monkeypatch.setattr(frame_table, "decoded", counting)
    return seen


def film(folder: Path, name: str, count: int, **options: Any) -> tuple[VideoInfo, dict[str, np.ndarray]]:
    path = clips.write(folder / name, count, **FILMS[name])
    return probe(str(path), "v", ReadOptions(**options))


def actor() -> Decode:
    stage = Decode()
    stage.setup()
    return stage


def fresh(info: VideoInfo, arrays: dict[str, np.ndarray], segment: Segment) -> np.ndarray:
    return frame_reader.read_frames(
        info, arrays["video.index"], arrays["video.pts"], segment.start, segment.stop, seek=arrays.get("video.seek")
    )


@pytest.mark.parametrize(
    ("name", "count"), [*((name, 400) for name in FILMS), pytest.param("a.mp4", 2000, marks=pytest.mark.long)]
)
def test_each_frame_of_a_film_with_one_key_frame_is_decoded_once(
    tmp_path: Path, name: str, count: int, seen: list[Any]
) -> None:
    info, arrays = film(tmp_path, name, count)
    right = fresh(info, arrays, Segment(info, 0, 0, info.num_frames))
    stage, parts = actor(), list(plan_segments(info, 96, 24))
    seen.clear()
    for segment in parts:
        out = stage.process(segment, arrays)
        np.testing.assert_array_equal(out["frames.rgb"], right[segment.start : segment.stop])
    assert len(parts) == {400: 6, 2000: 28}[count]
    assert len(seen) <= info.num_frames + 8, "what a decoder holds back may come to it"
    assert len(stage._cursors) == 0, "the film is over"


@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize("rate", [None, 1.0])
def test_no_picture_depends_on_the_order(tmp_path: Path, name: str, rate: float | None) -> None:
    info, arrays = film(tmp_path, name, 90, fps=rate)
    size, overlap = (20, 6) if rate is None else (4, 1)
    parts = list(plan_segments(info, size, overlap))
    right = [fresh(info, arrays, part) for part in parts]
    order = np.random.default_rng(4).integers(0, len(parts), 12)
    stages = actor(), actor()
    for turn, k in enumerate([*range(len(parts)), *order.tolist(), *reversed(range(len(parts)))]):
        out = stages[turn % 3 == 0].process(parts[k], arrays)
        np.testing.assert_array_equal(out["frames.rgb"], right[k])


def test_several_actors_each_go_forward_only(tmp_path: Path, seen: list[Any]) -> None:
    info, arrays = film(tmp_path, "a.mp4", 900)
    stages = [actor() for _ in range(3)]
    seen.clear()
    for k, segment in enumerate(plan_segments(info, 96, 24)):
        stages[k % 3].process(segment, arrays)
    assert len(seen) <= 3 * (info.num_frames + 8)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_a_seek_that_saves_work_is_taken(tmp_path: Path, seen: list[Any], name: str) -> None:
    path = clips.write(tmp_path / name, 600, options={"preset": "ultrafast", "g": "50", "bf": "2"})
    info, arrays = probe(str(path), "v")
    stage = actor()
    stage.process(Segment(info, 0, 0, 40, 0, 10), arrays)
    seen.clear()
    out = stage.process(Segment(info, 9, 500, 540, 10, 10), arrays)
    assert clips.number_of(out["frames.rgb"][0]) == 500 % 45
    assert len(seen) <= 2 * 50 + 40


def test_two_films_at_once_stay_open_and_no_third(tmp_path: Path, seen: list[Any]) -> None:
    films = []
    for k in range(3):
        (tmp_path / str(k)).mkdir()
        films.append(film(tmp_path / str(k), "a.mp4", 100))
    stage = actor()
    seen.clear()
    for start in (0, 20, 40):
        for info, arrays in films[:2]:
            stage.process(Segment(info, start // 20, start, start + 25, 5, 5), arrays)
    assert len(seen) <= 2 * 65 + 6
    info, arrays = films[2]
    stage.process(Segment(info, 0, 0, 25, 0, 5), arrays)
    assert len(stage._cursors) == cursor.OPEN == 2
    stage.teardown()
    assert len(stage._cursors) == 0


def test_an_idle_decoder_is_closed(tmp_path: Path) -> None:
    info, arrays = film(tmp_path, "a.mp4", 60)
    cursors = Cursors(idle_s=0.05)
    frame_reader.read_frames(info, arrays["video.index"], arrays["video.pts"], 0, 20, cursors=cursors, share=4)
    deadline = time.monotonic() + 10
    while len(cursors) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(cursors) == 0


def test_a_file_that_was_replaced_is_not_read_on(tmp_path: Path) -> None:
    info, arrays = film(tmp_path, "a.mp4", 60)
    stage = actor()
    stage.process(Segment(info, 0, 0, 20, 0, 4), arrays)
    other = clips.write(tmp_path / "b.mp4", 60, options=ONE_KEY | {"crf": "30"})
    os.replace(other, info.source)
    with pytest.raises(SourceChanged, match="run again"):
        stage.process(Segment(info, 1, 16, 36, 4, 4), arrays)


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    """The pictures that the next segment shares, and no decoded frame but what the decoder itself needs."""
    info, arrays = film(tmp_path, "a.mp4", 300)
    stage = actor()
    gc.collect()
    before = sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())
    for segment in list(plan_segments(info, 96, 24))[:-1]:
        out = stage.process(segment, arrays)
        ((_, held),) = stage._cursors._held
        assert sorted(held.kept) == list(range(segment.stop - 24, segment.stop))
        assert not any(np.shares_memory(picture, out["frames.rgb"]) for picture in held.kept.values())
    after = sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())
    assert after - before <= 4, "those of the packet that was decoded last"


def test_frames_that_an_export_asks_for_are_decoded_once(tmp_path: Path, seen: list[Any]) -> None:
    info, _ = film(tmp_path, "a.mp4", 320)
    size = info.width, info.height
    frame_reader.read_numbered(info.source, np.arange(2), size)  # lists the file
    seen.clear()
    for start in range(0, 320, 16):
        frames = frame_reader.read_numbered(info.source, np.arange(start, start + 16), size)
        assert clips.number_of(frames[0]) == start % 45
    assert len(seen) <= 320 + 8
    assert len(frame_reader._CURSORS) == 0


def test_damage_behind_the_start_of_a_segment_does_not_stay(tmp_path: Path) -> None:
    """A decoder that met damage is left; frames after the next key frame are read as if by a fresh one."""
    path = clips.write(tmp_path / "whole.mp4", 60)
    info, arrays = probe(str(path), "v")
    broken = clips.damaged(path, tmp_path / "broken.mp4", 0.5)
    stage, right = actor(), fresh(info, arrays, Segment(info, 0, 50, 60))
    info, arrays = probe(str(broken), "v")
    failed = 0
    for k, start in enumerate(range(0, 60, 10)):
        try:
            out = stage.process(Segment(info, k, start, start + 10, 0, 2), arrays)
        except Exception as error:
            assert "cannot be decoded" in str(error)
            failed += 1
    assert 1 <= failed <= 2
    np.testing.assert_array_equal(out["frames.rgb"], right)
