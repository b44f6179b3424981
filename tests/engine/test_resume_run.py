"""Runs that are killed, interrupted, resumed and changed: what is computed again, and what comes out."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import counting_stages
import h5py
import numpy as np
import pytest
from counted_runs import SEGMENTS, Driver, Rows, assert_same, count, datasets, of, render, run, stop_in_process
from counting_stages import calls, events

import geoflow
from geoflow.engine.stopping import Stop
from geoflow.pipeline import Pipeline
from geoflow.store.paths import RunPaths

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

KEPT = ("prior", "geometry")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def undisturbed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(clip, folder)
    assert len(calls(folder)) == 2 * SEGMENTS
    assert not RunPaths(folder / "out").work.exists()
    return datasets(folder / "out")


MOMENTS: dict[str, Callable[[Rows], bool]] = {
    "the first results": lambda rows: count(rows, "stage_done", "prior") >= 2,
    "a segment written": lambda rows: count(rows, "segment_complete") >= 2,
    "the last segment": lambda rows: count(rows, "stage_done", "geometry") >= SEGMENTS,
}


@pytest.mark.parametrize(
    "moment", [pytest.param(moment, marks=() if k == 1 else pytest.mark.slow) for k, moment in enumerate(MOMENTS)]
)
def test_a_killed_run_goes_on_where_it_was(
    clip: Path, tmp_path: Path, undisturbed: dict[str, np.ndarray], moment: str
) -> None:
    driver = Driver(clip, tmp_path, prior__seconds=0.2, geometry__seconds=0.1)
    driver.when(lambda: MOMENTS[moment](driver.events()))
    assert driver.end(signal.SIGKILL) == -signal.SIGKILL
    before = events(tmp_path / "out")
    # Other pool sizes; what takes time or not is a parameter here, so it stays.
    run(clip, tmp_path, prior__seconds=0.2, geometry__seconds=0.1, prior__actors=2, geometry__actors=2)
    after = events(tmp_path / "out")[len(before) :]
    began = Counter(calls(tmp_path))
    for slot, index in of(before, "stage_done"):
        if slot in KEPT:
            assert began[slot, index] == 1, f"{slot} on segment {index} was finished and ran again"
    complete = {row["index"] for row in before if row["event"] == "segment_complete"}
    assert not complete & {index for _, index in of(after, "stage_done", "stage_restored")}
    assert_same(datasets(tmp_path / "out"), undisturbed)
    assert not RunPaths(tmp_path / "out").work.exists()


@pytest.mark.parametrize("number", [3, 5])
def test_finished_segments_are_not_touched_again(
    clip: Path, tmp_path: Path, undisturbed: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    stop_in_process(clip, tmp_path, monkeypatch, "segment_complete", number)
    files = [path.name for path in RunPaths(tmp_path / "out").parts("a").iterdir()]
    assert not [n for n in files if n.endswith(".fields.npz") and int(n[8:13]) < number], "what is written is deleted"
    before = len(events(tmp_path / "out"))
    run(clip, tmp_path)
    after = events(tmp_path / "out")[before:]
    assert min([index for _, index in of(after, "stage_done", "stage_restored")], default=SEGMENTS) == number
    assert [row["finished"] for row in after if row["event"] == "video_planned"] == [number]
    assert max(Counter(calls(tmp_path)).values()) <= 2
    assert_same(datasets(tmp_path / "out"), undisturbed)


def test_damaged_work_is_done_again(
    clip: Path, tmp_path: Path, undisturbed: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_in_process(clip, tmp_path, monkeypatch, "segment_complete", 2)
    work = RunPaths(tmp_path / "out").parts("a")
    saved = sorted(work.glob("*.fields.npz"))
    assert saved
    for path in [*saved, *work.glob("segment_00001.stitch.*.state.npz")]:  # its checksum tells, when it is read
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    (work / "segment_00002.prior.0000.fields.npz.99.part").write_bytes(b"a draft")
    before = len(events(tmp_path / "out"))
    run(clip, tmp_path)
    after = events(tmp_path / "out")[before:]
    assert 1 <= count(after, "video_rewound") <= 1 + len(saved)
    assert {index for _, index in of(after, "stage_done")} == {1, 2, 3, 4}  # the state before that one is still there
    assert_same(datasets(tmp_path / "out"), undisturbed)
    assert not work.exists()


def test_a_part_that_is_gone_is_written_again(
    clip: Path, tmp_path: Path, undisturbed: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_in_process(clip, tmp_path, monkeypatch, "segment_complete", 3)
    (part,) = [path for index, _, path in RunPaths(tmp_path / "out").all_parts("a") if index == 1]
    part.write_bytes(part.read_bytes()[:-100])
    with RunPaths(tmp_path / "out").finished("a").open("a") as file:
        file.write('{"index": 3, "keys"')  # cut short by the kill
    run(clip, tmp_path)
    assert_same(datasets(tmp_path / "out"), undisturbed)


def test_a_changed_parameter_runs_its_stage_and_those_below(clip: Path, tmp_path: Path) -> None:
    def again(**settings: Any) -> tuple[Counter[str], Counter[str]]:
        before = len(events(tmp_path / "out")) if (tmp_path / "out").exists() else 0
        run(clip, tmp_path, keep_fields=True, decode__keep=True, **settings)
        after = events(tmp_path / "out")[before:]
        return Counter(s for s, _ in of(after, "stage_done")), Counter(s for s, _ in of(after, "stage_restored"))

    every = Counter(dict.fromkeys(("decode", "prior", "geometry", "stitch", "write"), SEGMENTS))
    assert again() == (every, Counter())
    ran, _ = again(geometry__factor=2.0)
    assert ran == Counter({"geometry": SEGMENTS, "stitch": SEGMENTS, "write": SEGMENTS})
    ran, _ = again(geometry__factor=2.0, stitch__median_depth=3.0)
    assert ran == Counter({"stitch": SEGMENTS, "write": SEGMENTS})
    ran, restored = again(geometry__factor=2.0, stitch__median_depth=3.0, write__compression=1)
    assert ran == Counter({"write": SEGMENTS})
    assert restored["stitch"] == SEGMENTS and not restored["geometry"] and not restored["prior"]


def test_a_parameter_changed_before_resuming(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_in_process(clip, tmp_path, monkeypatch, "stage_done", 3, slot="geometry", stitch__keep=False)
    done = of(events(tmp_path / "out"), "stage_done")
    complete = count(events(tmp_path / "out"), "segment_complete")
    run(clip, tmp_path, geometry__factor=2.0)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    run(clip, fresh, geometry__factor=2.0)
    assert_same(datasets(tmp_path / "out"), datasets(fresh / "out"))
    began = Counter(calls(tmp_path))
    assert [index for slot, index in done if slot == "prior" and index >= complete]
    assert all(began["prior", index] == 1 for slot, index in done if slot == "prior" and index >= complete)


def test_an_optional_stage_that_fails_only_now(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It worked when the later segments were saved; their world hangs on this segment, so they are stitched anew."""
    options = {"geometry__optional": True, "geometry__fail_in": "cloud", "keep_fields": True, "geometry__keep": False}
    run(clip, tmp_path, **options)
    (tmp_path / "cloud").touch()
    next(RunPaths(tmp_path / "out").parts("a").glob("segment_00001.stitch.*.fields.npz")).unlink()
    before = len(events(tmp_path / "out"))
    run(clip, tmp_path, **options, write__compression=1)
    assert count(events(tmp_path / "out")[before:], "video_rewound") >= 1
    with h5py.File(RunPaths(tmp_path / "out").video("a")) as store:
        assert [row["status"].decode() for row in store["segments"][()]] == [
            "complete", "incomplete", "complete", "complete", "complete",
        ]  # fmt: skip
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "cloud").touch()
    run(clip, fresh, **options, write__compression=1)
    assert_same(datasets(tmp_path / "out"), datasets(fresh / "out"))


def test_a_full_disk_costs_only_the_saving(clip: Path, tmp_path: Path, undisturbed: dict[str, np.ndarray]) -> None:
    run(clip, tmp_path, prior__full=True)
    rows = [row for row in events(tmp_path / "out") if row["event"] == "work_unsaved"]
    assert [row["slot"] for row in rows] == ["prior"]
    assert "MiB free" in rows[0]["reason"]
    assert_same(datasets(tmp_path / "out"), undisturbed)


def test_fresh_starts_from_nothing(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_in_process(clip, tmp_path, monkeypatch, "segment_complete", 2)
    before = len(calls(tmp_path))
    pipe = Pipeline.from_dict(counting_stages.pipeline(tmp_path))
    geoflow.run(clip, tmp_path / "out", pipe, resume=False)
    assert len(calls(tmp_path)) == before + 2 * SEGMENTS


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_one_signal_lets_running_calls_end(
    clip: Path, tmp_path: Path, undisturbed: dict[str, np.ndarray], number: int
) -> None:
    driver = Driver(clip, tmp_path, prior__seconds=0.4)
    driver.when(lambda: len(calls(tmp_path)) >= 3 and calls(tmp_path)[-1][0] == "prior")
    assert driver.end(number) == 130
    assert driver.process.stderr is not None
    said = driver.process.stderr.read()
    assert "interrupt once more to stop at once" in said and "run the same command again" in said
    assert "Traceback" not in said
    began, ended = calls(tmp_path), calls(tmp_path, "ended")
    assert sorted(began) == sorted(ended) and len(began) < 2 * SEGMENTS
    assert [row["event"] for row in driver.events()][-1] == "run_stopped"
    run(clip, tmp_path, prior__seconds=0.4)
    assert max(Counter(calls(tmp_path)).values()) == 1
    assert_same(datasets(tmp_path / "out"), undisturbed)


@pytest.mark.slow
def test_two_interrupts_stop_at_once_and_leave_no_process(
    clip: Path, tmp_path: Path, undisturbed: dict[str, np.ndarray]
) -> None:
    """As a terminal sends it: to every process of the group."""
    driver = Driver(clip, tmp_path, own_cluster=True, prior__seconds=60.0)
    driver.when(lambda: bool(calls(tmp_path)))
    os.killpg(driver.process.pid, signal.SIGINT)
    driver.when(lambda: count(driver.events(), "run_stopping") == 1)
    assert not calls(tmp_path, "ended")
    os.killpg(driver.process.pid, signal.SIGINT)
    assert driver.process.wait(timeout=50) == 130
    assert not calls(tmp_path, "ended")
    deadline = time.monotonic() + 30
    while driver.left_behind() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert driver.left_behind() == []


def test_a_deadline_ends_the_waiting() -> None:
    stop = Stop()
    stop.ask(grace_s=0.0)
    assert stop.asked and stop.overdue
    with pytest.raises(KeyboardInterrupt):
        stop.ask()
    patient = Stop()
    patient.ask()
    assert patient.asked and not patient.overdue


def test_the_record_of_a_resumed_video_is_whole(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_in_process(clip, tmp_path, monkeypatch, "segment_complete", 3)
    run(clip, tmp_path)
    loaded = geoflow.load_run(tmp_path / "out")
    assert [row["index"] for row in loaded.segments] == list(range(SEGMENTS))
    assert all(row["seconds_prior"] >= 0 for row in loaded.segments)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["inputs"][0]["status"] == "complete"
