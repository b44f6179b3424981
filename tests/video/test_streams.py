"""Which of several video streams is read, and that it is said."""

from __future__ import annotations

from pathlib import Path

import av
import clips
import numpy as np
import pytest
from chosen_clips import COVER, DEFAULT, several

from geoflow.errors import ConfigError, InputError
from geoflow.video.frame_reader import read_frames, read_numbered
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe


def first_number(path: Path, stream: int | None = None) -> tuple[int, tuple[str, ...]]:
    info, arrays = probe(str(path), "v", ReadOptions(stream=stream))
    return clips.number_of(read_frames(info, arrays["video.index"], arrays["video.pts"], 0, 1)[0]), info.notes


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_the_largest_is_taken_and_it_is_said(tmp_path: Path, suffix: str) -> None:
    flags = [DEFAULT, DEFAULT] if suffix == ".mp4" else [0, 0]  # MP4 flags the first where none is flagged
    path = several(tmp_path / f"a{suffix}", [(64, 48), (128, 96)], flags)
    number, notes = first_number(path)
    assert number == 10
    assert notes == (
        "Of the video streams 0 (h264 64x48), 1 (h264 128x96), 1 is read, the largest; --stream N takes another.",
    )


def test_the_one_flagged_default_is_taken(tmp_path: Path) -> None:
    number, (note,) = first_number(several(tmp_path / "a.mkv", [(64, 48), (128, 96)], [DEFAULT, 0]))
    assert number == 0 and "0 is read, the one flagged default" in note
    number, (note,) = first_number(several(tmp_path / "b.mkv", [(64, 48), (64, 48)], [0, 0]))
    assert number == 0 and "the first of the largest" in note


def test_a_stream_is_chosen_by_its_number(tmp_path: Path) -> None:
    path = several(tmp_path / "a.mkv", [(64, 48), (128, 96)], [0, 0])
    assert first_number(path, 0) == (0, ()) and first_number(path, 1) == (10, ())
    assert clips.number_of(read_numbered(str(path), np.array([2]), (64, 48), stream=0)[0]) == 2
    assert clips.number_of(read_numbered(str(path), np.array([2]), (64, 48))[0]) == 12
    with pytest.raises(
        InputError, match=r"no video stream 2; its video streams are 0 \(h264 64x48\), 1 .*--stream 0 or"
    ):
        probe(str(path), "v", ReadOptions(stream=2))
    with pytest.raises(ConfigError, match="stream"):
        ReadOptions(stream=-1)


def test_cover_art_and_single_pictures_are_no_film(tmp_path: Path) -> None:
    covered = several(tmp_path / "a.mp4", [(64, 48), (640, 480)], [0, COVER], [6, 1])
    with av.open(str(covered)) as file:
        assert [bool(s.disposition & COVER) for s in file.streams.video] == [False, True]
    assert first_number(covered) == (0, ())
    with pytest.raises(InputError, match="no video stream 1"):
        first_number(covered, 1)
    assert first_number(several(tmp_path / "b.mp4", [(128, 96), (64, 48)], [0, 0], [1, 6])) == (10, ())


def test_another_stream_is_other_work(tmp_path: Path) -> None:
    from geoflow.engine.keys import _video_key

    path = several(tmp_path / "a.mkv", [(64, 48), (64, 48)], [0, 0])
    first, second = (probe(str(path), "v", ReadOptions(stream=n))[0] for n in (0, 1))
    assert first.source_sha256 == second.source_sha256 and _video_key(first) != _video_key(second)
