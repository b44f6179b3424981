"""Runs whose prior surveys chapters: each once, whatever the pools' sizes, and never again after a kill."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counted_runs import SEGMENTS, Driver, Rows, assert_same, count, datasets, render, run, stop_in_process
from counting_stages import events, surveys

from geoflow.store.paths import RunPaths

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

CHAPTERS: dict[str, Any] = {"prior__backend": "counting_stages:Chapters"}
SPANS = [(0, 22), (18, 30)]  # of the clip's 30 frames, in segments of 8 that share 2


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def undisturbed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("undisturbed_chapters")
    run(clip, folder, **CHAPTERS)
    assert sorted(surveys(folder)) == SPANS
    assert not RunPaths(folder / "out").work.exists()
    return datasets(folder / "out")


@pytest.mark.slow
def test_a_larger_pool_surveys_nothing_twice(clip: Path, tmp_path: Path, undisturbed: dict[str, np.ndarray]) -> None:
    run(clip, tmp_path, **CHAPTERS, prior__actors=4)
    assert sorted(surveys(tmp_path)) == SPANS
    assert_same(datasets(tmp_path / "out"), undisturbed)
    rows = [row for row in events(tmp_path / "out") if row["event"] == "stage_done" and row["slot"] == "prior"]
    assert sorted(row["span"] for row in rows if "span" in row) == [[*span] for span in SPANS]
    assert len([row for row in rows if "span" not in row]) == SEGMENTS


def test_an_actor_that_dies_in_a_survey_costs_that_one(
    clip: Path, tmp_path: Path, undisturbed: dict[str, np.ndarray]
) -> None:
    (tmp_path / "die").touch()
    run(clip, tmp_path, **CHAPTERS, prior__die_in="die")
    began = Counter(surveys(tmp_path))
    assert sorted(began) == SPANS and sorted(began.values()) == [1, 2]
    assert_same(datasets(tmp_path / "out"), undisturbed)
    rows = events(tmp_path / "out")
    assert count(rows, "actor_died", "prior") == 1
    assert [row["verdict"] for row in rows if row["event"] == "stage_failed" and "span" in row] == ["retry"]


def test_a_killed_run_does_not_survey_again(clip: Path, tmp_path: Path, undisturbed: dict[str, np.ndarray]) -> None:
    settings = {**CHAPTERS, "prior__seconds": 0.3, "geometry__seconds": 0.1}
    driver = Driver(clip, tmp_path, **settings)

    def surveyed(rows: Rows) -> list[list[int]]:
        return [row["span"] for row in rows if row["event"] == "stage_done" and "span" in row]

    driver.when(lambda: bool(surveyed(driver.events())))
    assert driver.end(signal.SIGKILL) == -signal.SIGKILL
    done = [tuple(span) for span in surveyed(events(tmp_path / "out"))]
    run(clip, tmp_path, **settings, prior__actors=2)
    began = Counter(surveys(tmp_path))
    assert all(began[span] == 1 for span in done), "a survey was done and began again"
    assert_same(datasets(tmp_path / "out"), undisturbed)
    assert not RunPaths(tmp_path / "out").work.exists()


@pytest.mark.slow
def test_an_interrupted_run_lets_a_survey_end(clip: Path, tmp_path: Path, undisturbed: dict[str, np.ndarray]) -> None:
    settings = {**CHAPTERS, "prior__survey_seconds": 1.0}
    driver = Driver(clip, tmp_path, **settings)
    driver.when(lambda: bool(surveys(tmp_path)))
    assert driver.end(signal.SIGINT) == 130
    assert len(surveys(tmp_path)) == 1
    assert len(list(RunPaths(tmp_path / "out").parts("a").glob("span_*"))) == 1
    run(clip, tmp_path, **settings)
    assert sorted(surveys(tmp_path)) == SPANS
    assert_same(datasets(tmp_path / "out"), undisturbed)


@pytest.mark.slow
def test_a_video_whose_first_chapter_is_written_starts_with_the_second(
    clip: Path, tmp_path: Path, undisturbed: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_in_process(clip, tmp_path, monkeypatch, "segment_complete", 4, **CHAPTERS)
    before = len(surveys(tmp_path))
    files = [path.name for path in RunPaths(tmp_path / "out").parts("a").iterdir() if path.name.startswith("span_")]
    assert len(files) == 1, "a chapter whose segments are all written needs no survey"
    run(clip, tmp_path, **CHAPTERS)
    assert len(surveys(tmp_path)) == before == 2
    assert_same(datasets(tmp_path / "out"), undisturbed)
