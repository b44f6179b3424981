"""A store holds parts of one work only, and says which, whatever else is in the folder or written there."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ledger_events import write as write_events
from segment_fields import Truth, fields_of, make_truth

from geoflow.errors import StoreError
from geoflow.segments import VideoInfo
from geoflow.stage import SegmentRecord
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write
from geoflow.store.coherence import key_of
from geoflow.store.concurrent_runs import worked_on_at_once
from geoflow.store.finished import Finished
from geoflow.store.index import read_rows, write_index
from geoflow.store.paths import RunPaths
from geoflow.store.schema import PARTS, SEGMENTS, WORK
from geoflow.store.verify import verify_run, verify_store
from geoflow.store.work_key import describe_work, work_key

READING = {"fps": None, "size": None, "masks": None}


def stamp(fingerprint: str, size: int = 10) -> str:
    """The JSON of a run, as far as it matters here."""
    return json.dumps({"fingerprint": fingerprint, "reading": READING, "segment": {"size": size, "overlap": 2}})


Segments = list[tuple[Any, dict[str, np.ndarray]]]


@pytest.fixture(scope="module")
def truth() -> Truth:
    return make_truth(40)


@pytest.fixture(scope="module")
def stitched(truth: Truth) -> Segments:
    stitch = Stitch()
    return [(segment, stitch.process(segment, fields_of(truth, segment))) for segment in truth.segments]


class Run:
    """One run's writer, on a folder that others may write to."""

    def __init__(self, out: Path, truth: Truth, fingerprint: str, depth: float = 1.0) -> None:
        self.truth, self.depth, self.pipeline = truth, depth, stamp(fingerprint, size=40)
        self.stage = Write(Write.Params(out=str(out), pipeline=self.pipeline))

    def write(self, items: Iterable[tuple[Any, dict[str, np.ndarray]]]) -> None:
        for segment, fields in items:
            self.stage.process(segment, {**fields, "camera.depth": fields["camera.depth"] * np.float16(self.depth)})

    def finish(self) -> Path:
        records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in self.truth.segments]
        return Path(self.stage.finish(self.truth.video, records)["path"])


def depth(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["camera/depth"][()]


def alone(tmp_path: Path, truth: Truth, stitched: Segments, fingerprint: str, factor: float) -> np.ndarray:
    run = Run(tmp_path / f"alone-{fingerprint}", truth, fingerprint, factor)
    run.write(stitched)
    return depth(run.finish())


# Two at once, nobody held back


@pytest.mark.parametrize("first_done", ["one", "two"])
def test_two_runs_with_other_settings_never_share_a_frame(
    tmp_path: Path, truth: Truth, stitched: Segments, first_done: str
) -> None:
    one, two = Run(tmp_path / "out", truth, "one", 1.0), Run(tmp_path / "out", truth, "two", 2.0)
    for item in stitched:
        one.write([item])
        two.write([item])
    for run in (one, two) if first_done == "one" else (two, one):
        path = run.finish()
        assert (depth(path) == alone(tmp_path, truth, stitched, f"{run.depth}", run.depth)).all()
        assert verify_store(path) == []
        with h5py.File(path) as file:
            assert key_of(file) == work_key(describe_work(truth.video, run.pipeline))


def test_a_part_of_other_work_under_the_right_name_is_refused_and_goes(
    tmp_path: Path, truth: Truth, stitched: Segments
) -> None:
    one, two = Run(tmp_path / "out", truth, "one", 1.0), Run(tmp_path / "out", truth, "two", 2.0)
    one.write(stitched)
    two.write(stitched)
    paths = RunPaths(tmp_path / "out")
    mine, others = (paths.finished_parts("clip", work_key(describe_work(truth.video, r.pipeline))) for r in (one, two))
    assert len(mine) == len(others) == len(stitched) > 2
    shutil.copy(others[1], mine[1])
    with pytest.raises(StoreError, match=r"segment_00001\..* is a part of other work.*run again"):
        one.finish()
    assert not paths.video("clip").exists() and [mine[i].exists() for i in mine] == [True, *[False] * (len(mine) - 1)]
    assert two.finish().is_file()  # the other's are untouched


def test_parts_of_two_courses_of_the_same_work_do_not_go_together(
    tmp_path: Path, truth: Truth, stitched: Segments
) -> None:
    """Equal settings, of a model that does not give the same twice."""
    one, two = Run(tmp_path / "out", truth, "one", 1.0), Run(tmp_path / "out", truth, "one", 1.01)
    for item in stitched:
        one.write([item])
        if item[0].index == 1:
            two.write([stitched[0], item])  # the first again, then its own second over the other's
    with pytest.raises(StoreError, match=r"another course of the same work.*run again"):
        one.finish()
    one = Run(tmp_path / "out", truth, "one", 1.0)
    one.write(stitched)
    assert (depth(one.finish()) == alone(tmp_path, truth, stitched, "alone", 1.0)).all()


def test_the_same_twice_is_the_same(tmp_path: Path, truth: Truth, stitched: Segments) -> None:
    one, two = Run(tmp_path / "out", truth, "one"), Run(tmp_path / "out", truth, "one")
    for item in stitched:
        two.write([item])
        one.write([item])
    assert verify_store(one.finish()) == []
    assert two.finish().is_file()  # there already, of the same work


# verify


@pytest.fixture
def store(tmp_path: Path, truth: Truth, stitched: Segments) -> Path:
    run = Run(tmp_path / "out", truth, "one")
    run.write(stitched)
    return run.finish()


def another_part(file: h5py.File) -> None:
    ((key, count),) = json.loads(file[SEGMENTS].attrs[PARTS]).items()
    file[SEGMENTS].attrs[PARTS] = json.dumps({key: count - 1, "0" * 20: 1})


def no_keys(file: h5py.File) -> None:
    del file[SEGMENTS].attrs[PARTS]


def as_it_was_before(file: h5py.File) -> None:
    """A store that does not say what its parts are parts of."""
    del file.attrs[WORK]
    no_keys(file)


def other_stamp(file: h5py.File) -> None:
    file.attrs["pipeline"] = stamp("two", size=40)


def other_source(file: h5py.File) -> None:
    file.attrs["source_sha256"] = "0" * 64


def smaller_segments(file: h5py.File) -> None:
    as_it_was_before(file)
    file.attrs["pipeline"] = stamp("one", size=8)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (another_part, "1 of 4 segments are parts of other work than the file states"),
        (no_keys, "4 of 4 segments are parts of other work"),
        (other_stamp, "fingerprint is two in the file's attributes and one in the work of its parts"),
        (other_source, "source_sha256 is 0000"),
        (smaller_segments, "but the file states 8: not from this work"),
    ],
)
def test_what_is_not_of_one_piece_is_found(store: Path, damage: Callable[[h5py.File], None], words: str) -> None:
    with h5py.File(store, "r+") as file:
        damage(file)
    assert len(problems := verify_store(store, deep=False)) >= 1
    assert re.search(words, problems[0]), problems


def row(out: Path) -> dict[str, Any]:
    with h5py.File(RunPaths(out).video("clip")) as file:
        return Finished(RunPaths(out), stamp("one", size=40)).row("clip", file)


def test_an_index_of_another_run_is_found(store: Path, tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "out")
    write_index(paths, [found := row(paths.root)])
    assert verify_run(paths.root) == [] and read_rows(paths.index)[0]["key"]
    write_index(paths, [{**found, "key": "0" * 20}])
    assert "index names other work than the file" in verify_run(paths.root)[0]
    write_index(paths, [{**found, "key": None, "num_frames": 7}])
    assert "the index has another num_frames than the file" in verify_run(paths.root)[0]


AT_ONCE = [
    {"event": "run_started", "videos": ["clip", "a"]},
    {"event": "segment_complete", "video": "clip", "index": 0},
    {"event": "run_started", "videos": ["clip", "b"]},
]


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ([], set()),
        ([{"event": "run_finished"}], set()),  # the first was killed
        ([{"event": "run_finished"}, {"event": "run_finished"}], {"clip"}),
        ([{"event": "run_finished"}, {"event": "run_stopped"}], {"clip"}),
        ([{"event": "segment_complete", "video": "clip", "index": 1}] * 2, {"clip"}),
        ([{"event": "video_complete", "video": "clip"}] * 2, {"clip"}),
        ([{"event": "video_complete", "video": "b"}] * 2, set()),
        (
            [
                {"event": "segment_complete", "video": "clip", "index": 1},
                {"event": "video_rewound", "video": "clip"},
                {"event": "segment_complete", "video": "clip", "index": 1},
            ],
            set(),
        ),
        (
            [
                *[{"event": "run_finished"}] * 2,
                {"event": "run_started", "videos": ["clip"]},
                {"event": "video_complete", "video": "clip"},
                {"event": "run_finished"},
            ],
            set(),
        ),
        (
            [
                *[{"event": "run_finished"}] * 2,
                {"event": "run_started", "videos": ["clip"]},
                {"event": "video_skipped", "video": "clip"},
                {"event": "run_finished"},
            ],
            {"clip"},
        ),
    ],
)
def test_the_ledger_shows_who_wrote_at_once(more: list[dict[str, Any]], found: set[str]) -> None:
    assert worked_on_at_once([*AT_ONCE, *more]) == found


def test_an_old_store_of_two_runs_at_once_is_suspect(store: Path, tmp_path: Path, truth: Truth) -> None:
    paths, pipeline = RunPaths(tmp_path / "out"), stamp("one", size=40)
    write_index(paths, [row(paths.root)])
    write_events(paths.events, [{"time": 0, **r} for r in [*AT_ONCE, *[{"event": "run_finished"}] * 2]])
    assert verify_run(paths.root) == []  # its parts are known
    with h5py.File(store, "r+") as file:
        as_it_was_before(file)
    write_index(paths, [{**row(paths.root), "key": None}])
    assert "two runs worked on it at the same time" in verify_run(paths.root)[0]
    assert Finished(paths, pipeline).find(truth.video) is None
    paths.events.unlink()
    assert verify_run(paths.root) == [] and Finished(paths, pipeline).find(truth.video) is not None


# What a run keeps


def test_a_store_of_the_same_work_is_kept(store: Path, tmp_path: Path, truth: Truth) -> None:
    paths = RunPaths(tmp_path / "out")

    def found(info: VideoInfo = truth.video, fingerprint: str = "one") -> dict[str, Any] | None:
        return Finished(paths, stamp(fingerprint, size=40)).find(info)

    changed = dataclasses.replace
    kept = found()
    assert kept is not None and (kept["num_frames"], kept["segments"], kept["path"]) == (40, 4, "videos/clip.h5")
    assert found(changed(truth.video, source="/moved/clip.mp4")) == kept
    assert found(fingerprint="two") is None
    for change in ({"source_sha256": "0" * 64}, {"masks_sha256": "f00d"}, {"intrinsics": (9.0, 9.0, 4.0, 4.0)}):
        assert found(changed(truth.video, **change)) is None, change
    with h5py.File(store, "r+") as file:
        another_part(file)
    assert found() is None


def test_a_row_of_an_earlier_run_does_not_describe_a_later_store(store: Path, tmp_path: Path, truth: Truth) -> None:
    """The run that wrote the store was killed before it wrote the index, which is still that of the run before."""
    paths = RunPaths(tmp_path / "out")
    true = row(paths.root)
    write_index(paths, [{**true, "key": "0" * 20, "frames_posed": 3}])
    assert Finished(paths, stamp("one", size=40)).find(truth.video) == true
    assert Finished(paths, stamp("one", size=40)).others(set()) == [true]
    write_index(paths, [{**true, "frames_posed": 3}])  # one of the same work is believed
    assert Finished(paths, stamp("one", size=40)).others(set())[0]["frames_posed"] == 3


def test_a_store_that_is_gone_is_a_failure_with_a_reason(store: Path, tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "out")
    write_index(paths, [row(paths.root)])
    store.unlink()
    (found,) = Finished(paths, stamp("one")).others(set())
    assert found["status"] == "failed" and "cannot be read any more" in found["reason"] and not found["path"]
    assert Finished(paths, stamp("one")).others({"clip"}) == []
