"""Episodes: what is chosen of a run, the split, and the frames of a store as if they were a store of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from full_store import UNPOSED

from geoflow.errors import ConfigError
from geoflow.export.dataset.episodes import split_of, texts_of
from geoflow.export.dataset.passage import Passage
from geoflow.export.frames import Depths, pictures
from geoflow.export.track_rows import track_rows
from geoflow.store.reader import open_video

NAMES = [f"video{k}" for k in range(20)]


def test_the_split_is_by_video_and_seed() -> None:
    sides = split_of(NAMES, 0.2, seed=3)
    assert list(sides.values()).count("val") == 4
    assert sides == split_of(reversed(NAMES), 0.2, seed=3) != split_of(NAMES, 0.2, seed=4)
    # Another video moves at most one of those held back to the other side.
    more = split_of([*NAMES, "one more"], 0.2, seed=3)
    assert sum(sides[name] != more[name] for name in NAMES) <= 1
    assert set(split_of(NAMES, 0.0, seed=0).values()) == {"train"}
    with pytest.raises(ConfigError, match="--val 1: expected"):
        split_of(NAMES, 1.0, seed=0)


def test_texts_of_videos(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("video,text\nvideo1,pour a cup\nother,no\n")
    assert texts_of(str(path), NAMES) == {"video1": "pour a cup"}
    path.write_text("name,text\nvideo1,pour\n")
    with pytest.raises(ConfigError, match="the columns video and text"):
        texts_of(str(path), NAMES)


@pytest.mark.parametrize(("start", "stop", "step"), [(0, 8, 1), (3, 7, 1), (1, 8, 3)])
def test_a_passage_is_those_frames_of_its_store(store: Path, start: int, stop: int, step: int) -> None:
    rows = slice(start, stop, step)
    with open_video(store) as whole, open_video(store) as other:
        part = Passage(other, start, stop, step)
        count = len(range(start, stop, step))
        assert len(part) == count and part.fps == whole.fps / step
        assert np.array_equal(part.frame_time, whole.frame_time[rows])
        assert np.array_equal(part.depth[:], whole.depth[:][rows])
        assert np.array_equal(part.mask[1:count], whole.mask[:][rows][1:])
        assert np.array_equal(list(pictures(part, range(count))), [whole.rgb(i) for i in range(8)[rows]])
        assert part.cameras is not None and whole.cameras is not None and part.hands and whole.hands
        np.testing.assert_array_equal(part.cameras.cam_from_world, whole.cameras.cam_from_world[rows])
        assert part.cameras.valid.sum() == count - (UNPOSED in range(start, stop, step))
        np.testing.assert_array_equal(part.hands.left.joints, whole.hands.left.joints[rows])
        ours, theirs = list(track_rows(part)), list(track_rows(whole))[rows]
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a.xyz, b.xyz)
            assert np.array_equal(a.visible, b.visible)
        for i, k in enumerate(range(start, stop, step)):
            np.testing.assert_array_equal(Depths(part)[i][0], Depths(whole)[k][0])
        with pytest.raises(IndexError):
            part.depth[count]
