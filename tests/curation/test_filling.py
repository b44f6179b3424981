"""Stores of before stores had quality: the same figures as a run writes, and nothing else changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from run_folder import make_run

from geoflow.curation.filling import fill_quality
from geoflow.errors import ConfigError, StoreError
from geoflow.quality.quality_columns import QUALITY_COLUMNS
from geoflow.store.finished import Finished
from geoflow.store.index import read_rows, write_index, write_segments
from geoflow.store.owner import Ownership
from geoflow.store.paths import RunPaths
from geoflow.store.schema import SEGMENTS
from geoflow.store.verify import verify, verify_store


def as_before(paths: RunPaths) -> None:
    """Make the stores and tables of a run what they were before there was quality."""
    tables = {}
    for path in paths.videos.glob("*.h5"):
        with h5py.File(path, "a") as file:
            del file["quality"]
            table, attributes = file[SEGMENTS][()], dict(file[SEGMENTS].attrs)
            del file[SEGMENTS]
            kept = [name for name in table.dtype.names if name not in QUALITY_COLUMNS]
            old = np.zeros(len(table), [(name, table.dtype[name]) for name in kept])
            for name in kept:
                old[name] = table[name]
            file[SEGMENTS] = tables[path.stem] = old
            file[SEGMENTS].attrs.update(attributes)
    rows = read_rows(paths.index)
    write_index(paths, [{k: v for k, v in row.items() if k not in (*QUALITY_COLUMNS, "seam_residual")} for row in rows])
    write_segments(paths, tables)


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    """Two videos of one segment each."""
    return make_run(tmp_path / "run", "kitchen", "street", num_frames=16)


def contents(path: Path) -> dict[str, np.ndarray]:
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
        found |= {f"@{name}": value for name, value in file.attrs.items()}
    return found


def test_a_store_of_before_gets_what_a_run_writes(run: RunPaths) -> None:
    index, segments = read_rows(run.index), read_rows(run.segments)
    stores = {path.name: contents(path) for path in run.videos.iterdir()}
    as_before(run)
    assert read_rows(run.index)[0]["quality"] is None and "quality" not in read_rows(run.segments)[0]
    assert verify_store(run.video("street")) == []
    found = fill_quality(run.root)
    assert [(row.name, row.changed) for row in found] == [("kitchen", True), ("street", True)]
    assert "source" in found[0].said, "there are no pixels, and it says so"
    for row, before in zip([*read_rows(run.index), *read_rows(run.segments)], [*index, *segments]):
        assert {name: str(value) for name, value in row.items()} == {n: str(value) for n, value in before.items()}
    for name, before in stores.items():
        after = contents(run.videos / name)
        assert after.keys() == before.keys()
        for key in before:
            assert after[key].dtype == before[key].dtype if key != SEGMENTS and key[0] != "@" else True
            if key == SEGMENTS:
                assert [str(row) for row in after[key]] == [str(row) for row in before[key]]
            else:
                same = {"equal_nan": True} if np.asarray(before[key]).dtype.kind == "f" else {}
                assert np.array_equal(after[key], before[key], **same), key


def test_each_segment_is_measured_by_itself_as_when_it_is_written(tmp_path: Path) -> None:
    paths = make_run(tmp_path, "long")
    before = contents(paths.video("long"))
    as_before(paths)
    fill_quality(paths.root)
    after = contents(paths.video("long"))
    # A store does not tell which of two segments that share frames has a track: `track_residual` may have others.
    for name in ("coverage", "depth_gap", "flicker", "parallax", "hand_jitter"):
        assert np.array_equal(after[f"quality/{name}"], before[f"quality/{name}"], equal_nan=True), name
    assert np.isnan(after["quality/flicker"]).sum() == 4, "the first frame of each segment"


def test_what_has_it_stays_as_it_is_unless_asked(run: RunPaths) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in run.videos.iterdir()}
    assert not any(row.changed for row in fill_quality(run.root))
    assert stamps == {path: path.stat().st_mtime_ns for path in run.videos.iterdir()}
    with h5py.File(run.video("street"), "a") as file:
        right = file["quality/score"][()]
        file["quality/score"][()] = 0.123
    assert all(row.changed for row in fill_quality(run.root, again=True))
    with h5py.File(run.video("street")) as file:
        assert np.array_equal(file["quality/score"][()], right, equal_nan=True)


def test_a_later_run_keeps_the_filled_store_and_its_row(run: RunPaths) -> None:
    as_before(run)
    fill_quality(run.root)
    rows = {row["name"]: row for row in Finished(run, "{}").others(set())}
    assert rows["kitchen"]["quality"] == read_rows(run.index)[0]["quality"] > 0


def test_where_it_must_not_write(run: RunPaths, tmp_path: Path) -> None:
    with Ownership(run), pytest.raises(ConfigError):
        fill_quality(run.root)
    with pytest.raises(ConfigError, match="copy the run's folder to this machine"):
        fill_quality("s3://bucket/out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="not the output of a run"):
        fill_quality(tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())


def test_the_run_is_as_promised_afterwards(run: RunPaths) -> None:
    shutil.rmtree(run.root / "work", ignore_errors=True)
    as_before(run)
    fill_quality(run.root)
    assert [line for line in verify(run.root) if "run.json" not in line] == []
