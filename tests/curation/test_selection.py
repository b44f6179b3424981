"""Selections of a run: which frames they are, the list on disk, and lists that no longer fit."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from run_folder import make_run

from geoflow.curation import select, selected_frames, write_selection
from geoflow.errors import ConfigError, StoreError
from geoflow.store.index import read_rows, write_index
from geoflow.store.paths import RunPaths


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    return make_run(tmp_path_factory.mktemp("run"), "kitchen", "street")


def test_segments_are_chosen_by_their_columns_and_their_frames_meet(run: RunPaths) -> None:
    everything = select(run.root)
    assert everything.rows == everything.table.num_rows == 8
    assert everything.frames == {"kitchen": ((0, 40),), "street": ((0, 40),)}
    assert select(run.root, "video == 'street' and index in [0, 1, 3]").frames == {"street": ((0, 20), (30, 40))}
    values = everything.table["quality"].to_pylist()
    middle = sorted(values)[3]
    found = select(run.root, f"quality > {middle!r}").table
    assert found["quality"].to_pylist() == [value for value in values if value > middle] and 0 < found.num_rows < 8


def test_columns_of_the_video_stand_beside_those_of_the_segment(run: RunPaths) -> None:
    found = select(run.root, "video_fps == 25 and video_quality > 0 and hands_visible > 0.2").table
    assert found.num_rows == 8 and {"video_path", "video_key", "frames_from", "frames_to"} <= {*found.column_names}
    with pytest.raises(ConfigError, match=r"there is no column 'hands'; there are: .*hands_visible.*video_source"):
        select(run.root, "hands > 1")


def test_whole_videos(run: RunPaths) -> None:
    found = select(run.root, "num_frames == 40 and name != 'street'", kind="videos")
    assert found.frames == {"kitchen": ((0, 40),)} and found.rows == 2
    with pytest.raises(ConfigError, match="--of frames: choose segments or videos"):
        select(run.root, kind="frames")


def test_a_list_on_disk_says_the_same_and_is_joined_with_a_condition(run: RunPaths, tmp_path: Path) -> None:
    chosen = tmp_path / "lists" / "some.parquet"
    write_selection(chosen, select(run.root, "index >= 2"))
    assert pq.read_table(chosen)["frames_from"].to_pylist() == [20, 30, 20, 30]
    assert selected_frames(run.root, chosen=chosen) == {"kitchen": ((20, 40),), "street": ((20, 40),)}
    assert selected_frames(run.root, chosen=chosen, where="index != 3") == {
        "kitchen": ((20, 30),), "street": ((20, 30),),
    }  # fmt: skip
    assert selected_frames(run.root) == {"kitchen": ((0, 40),), "street": ((0, 40),)}
    with pytest.raises(ConfigError, match=re.escape("is chosen by --where 'index < 2' and --select")):
        selected_frames(run.root, chosen=chosen, where="index < 2")


def test_a_list_that_no_longer_fits_is_refused(run: RunPaths, tmp_path: Path) -> None:
    chosen, other = tmp_path / "some.parquet", make_run(tmp_path / "other", "kitchen", "street")
    write_selection(chosen, select(other.root))
    assert selected_frames(other.root, chosen=chosen)
    rows = read_rows(other.index)
    write_index(other, [{**row, "key": "0" * 20} if row["name"] == "street" else row for row in rows])
    with pytest.raises(StoreError, match=r"street was made anew since .*some.parquet was written; select again"):
        selected_frames(other.root, chosen=chosen)
    write_index(other, rows[:1])
    with pytest.raises(StoreError, match=r"names street, and .* has no such video; select again"):
        selected_frames(other.root, chosen=chosen)
    with pytest.raises(StoreError, match=r"has no columns .*`geoflow select` did not write it"):
        selected_frames(run.root, chosen=run.index)


def test_what_is_no_run_and_what_is_no_list(run: RunPaths, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not the output of a run"):
        select(tmp_path)
    with pytest.raises(ConfigError, match=r"name a file that ends in \.parquet"):
        write_selection(tmp_path / "list.csv", select(run.root))
