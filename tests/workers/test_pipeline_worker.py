"""A worker that runs a pipeline: its command, its answer, and GeometryCrafter's own, whose options are its scripts'."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_store import write_store

from geoflow.errors import ConfigError, GeoFlowError, InputError, StageError
from geoflow.store.reader import open_video
from geoflow.workers import declaration, serving
from geoflow.workers.pipeline_worker import PipelineWorker

Crafter = declaration.find("geometrycrafter")


class Commands:
    """Stands for the program: notes its command, and answers as it is asked to."""

    def __init__(self, status: int, videos: list[dict[str, str]]) -> None:
        self.status, self.videos = status, videos
        self.command: list[str] = []

    def run(self, command: list[str], **given: Any) -> subprocess.CompletedProcess[str]:
        self.command = command
        out = json.dumps({"videos": self.videos}) if self.videos else ""
        return subprocess.CompletedProcess(command, self.status, out)


def watch(monkeypatch: pytest.MonkeyPatch, status: int, *videos: dict[str, str]) -> Commands:
    commands = Commands(status, list(videos))
    monkeypatch.setattr("geoflow.workers.pipeline_worker.subprocess.run", commands.run)
    return commands


def test_a_pipeline_gets_its_settings_and_the_user_s_come_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands = watch(monkeypatch, 0, {"status": "complete", "path": "out/videos/v.h5"})
    worker = PipelineWorker(None, ["prior.weights=/w"])
    settings = {"geometry.height": 64, "geometry.width": None, "geometry.model_type": "diff"}
    store = worker.run(Path("v.mp4"), tmp_path, "geometry", settings, ["--limit", "3"])
    assert store == Path("out/videos/v.h5")
    start = [sys.executable, "-m", "geoflow", "run", "v.mp4", "-o", str(tmp_path), "--pipeline", "geometry", "--json"]
    assert commands.command == [
        *start,
        *("--limit", "3"),
        *("--set", "geometry.height=64", "--set", 'geometry.model_type="diff"', "--set", "prior.weights=/w"),
    ]


@pytest.mark.parametrize(
    ("status", "videos", "error"),
    [
        (2, [], InputError),
        (3, [{"status": "failed"}], StageError),
        (0, [], StageError),
        (0, [{"status": "complete", "path": "a"}, {"status": "complete", "path": "b"}], StageError),
    ],
)
def test_a_run_that_is_not_complete_is_no_answer(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    status: int,
    videos: list[dict[str, str]],
    error: type[GeoFlowError],
) -> None:
    watch(monkeypatch, status, *videos)
    with pytest.raises(error):
        PipelineWorker(None).run(Path("v.mp4"), tmp_path, "geometry", {})


def request(tmp_path: Path, *more: str) -> Any:
    clip = tmp_path / "clip.mp4"
    clip.touch()
    stated = ["--video_path", str(clip), "--save_folder", str(tmp_path / "out"), *more]
    values, settings = serving._parse("geometrycrafter", Crafter, stated)
    return Crafter(None, settings).read(declaration.request_of(Crafter, values))


def test_the_options_stand_as_the_script_has_them(tmp_path: Path) -> None:
    found = request(
        tmp_path,
        *("--height", "384", "--width", "640", "--low_memory_usage", "True", "--decode_chunk_size", "6"),
        *("--force_fixed_focal", "False", "--use_extract_interp", "--seed", "7"),
    )
    assert (found.height, found.width, found.decode_chunk_size, found.seed) == (384, 640, 6, 7)
    assert (found.low_memory_usage, found.force_fixed_focal, found.use_extract_interp) == (True, False, True)
    assert (found.framework, found.model_type, found.window_size, found.overlap) == ("jittor", "diff", 110, 25)


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (["--height", "380"], ConfigError, "multiples of 64, found 380"),
        (["--framework", "mindspore"], InputError, "one of jittor, torch, found 'mindspore'"),
        (["--process_stride", "0"], InputError, "--process_stride should be at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_runs(
    tmp_path: Path, more: list[str], error: type[GeoFlowError], message: str
) -> None:
    with pytest.raises(error, match=message):
        request(tmp_path, *more)


def test_a_video_that_is_not_there_and_a_bool_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = request(tmp_path)
    (tmp_path / "clip.mp4").unlink()
    with pytest.raises(InputError, match="does not exist; check --video_path"):
        Crafter(None).read(found)
    with pytest.raises(SystemExit):
        request(tmp_path, "--low_memory_usage", "maybe")
    assert "should be True or False, found 'maybe'" in capsys.readouterr().err


@pytest.mark.parametrize(("framework", "pipeline"), [("jittor", "geometry-jittor"), ("torch", "geometry")])
def test_point_maps_are_those_of_the_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_clip: Any, framework: str, pipeline: str
) -> None:
    store = tmp_path / "videos" / "clip.h5"
    store.parent.mkdir()
    write_store(store, small_clip)
    commands = watch(monkeypatch, 0, {"status": "complete", "path": str(store)})
    asked = request(tmp_path, "--process_length", "5", "--framework", framework, "--decode_chunk_size", "6")
    answer = Crafter(None).answer(asked)
    assert answer == {"npz": str(tmp_path / "out" / "clip.npz"), "store": str(store)}
    assert commands.command[commands.command.index("--pipeline") + 1] == pipeline
    assert {"geometry.decode_chunk_size=6", "geometry.window_size=110", "--limit", "5"} <= set(commands.command)
    with np.load(answer["npz"]) as found, open_video(store) as video:
        assert found["point_map"].dtype == np.float16 and found["mask"].dtype == bool
        wanted = np.stack([video.points(i) for i in range(len(video))])
        np.testing.assert_array_equal(found["mask"], video.mask[:])
        np.testing.assert_array_equal(found["point_map"], np.nan_to_num(wanted).astype(np.float16))
