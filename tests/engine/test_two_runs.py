"""Two runs into one folder at once: one owns it, the other reports the owner; and no store holds frames of both."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import counting_stages
import numpy as np
import pytest
import yaml
from counting_stages import calls

import geoflow
import geoflow.runner
from geoflow.errors import ConfigError, GeoFlowError
from geoflow.observe.status import read_status
from geoflow.pipeline import Pipeline
from geoflow.results import RunResult
from geoflow.store import owner as owning
from geoflow.store.mirror import run_paths
from geoflow.store.opening import open_h5
from geoflow.store.owner import Owner, current_owner
from geoflow.store.verify import verify
from geoflow.synth import render_clip

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

TIMES = 5  # in each of four combinations
FACTORS = (1.0, 2.0)  # by which the two settings differ


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    render_clip(folder / "a.mp4", folder / "a.gt.h5", num_frames=20, width=64, height=48)  # three segments
    return folder / "a.mp4"


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Makes the names of new output folders."""
    if request.param == "disk":
        return lambda name: str(tmp_path / name)
    request.getfixturevalue("refuse")
    return lambda name: f"s3://bucket/{tmp_path.name}/{name}"


def pipeline(folder: Path, factor: float, seconds: float = 0.1) -> Pipeline:
    return Pipeline.from_dict(counting_stages.shortest(folder, factor, seconds))


def seen(out: str) -> set[float]:
    """The settings that the frames of a store show."""
    with open_h5(run_paths(out).store("a")) as store:
        assert len(store["frames/rgb"]) == 20
        return {float(value) for value in np.unique(store["frames/rgb"][()])}


def start_both(clip: Path, out: str, pipes: list[Pipeline]) -> list[tuple[RunResult | GeoFlowError, float]]:
    """Two runs that begin at the same moment: how each ended, and after how many seconds."""
    ended: list[Any] = [None, None]
    together = threading.Barrier(2)

    def one(number: int) -> None:
        together.wait()
        began = time.monotonic()
        try:
            result: Any = geoflow.run(clip, out, pipes[number])
        except GeoFlowError as error:
            result = error
        ended[number] = (result, time.monotonic() - began)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["same", "other"])
def test_two_at_once(clip: Path, tmp_path: Path, place: Callable[[str], str], settings: str) -> None:
    factors = FACTORS if settings == "other" else (1.0, 1.0)
    for turn in range(TIMES):
        out, folder = place(f"out{turn}"), tmp_path / f"calls{turn}"
        folder.mkdir()
        ends = start_both(clip, out, pipes := [pipeline(folder, factor) for factor in factors])
        (owner,) = [k for k, (end, _) in enumerate(ends) if isinstance(end, RunResult)]
        (refused,) = [k for k, (end, _) in enumerate(ends) if isinstance(end, ConfigError)]
        assert ends[owner][0].exit_status == 0
        assert f"{out} is being written by process {os.getpid()} on {socket.gethostname()} since" in str(
            ends[refused][0]
        )
        assert ends[refused][1] < ends[owner][1]  # it did not wait
        assert sum(slot == "decode" for slot, _ in calls(folder)) == 3  # nothing was computed twice
        assert verify(out) == [] and seen(out) == {factors[owner]}
        again = geoflow.run(clip, out, pipes[refused])
        assert again.exit_status == 0 and [video.reused for video in again.videos] == [settings == "same"]
        assert verify(out) == [] and seen(out) == {factors[refused]}
        status = read_status(out)
        assert status["run"] == 2 and status["state"] == "finished" and status["owner"] is None
        assert geoflow.load_run(out).index[0]["key"]


class Nobody:
    """An owner that keeps no other run away."""

    token, lost_to = "", None

    def __init__(self, paths: Any) -> None: ...
    def __enter__(self) -> Nobody:
        return self

    def __exit__(self, *exc: object) -> None: ...
    def when_lost(self, what: Any) -> None: ...
    def check(self) -> None: ...


@pytest.mark.parametrize("head_start_s", [0.0, 0.5])
def test_even_unguarded_no_store_holds_frames_of_both(
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    head_start_s: float,
) -> None:
    monkeypatch.setattr(geoflow.runner, "Ownership", Nobody)
    out = str(tmp_path / "out")
    ends: list[Any] = [None, None]

    def one(number: int) -> None:
        time.sleep(number * head_start_s)
        with contextlib.suppress(GeoFlowError):
            ends[number] = geoflow.run(clip, out, pipeline(tmp_path, FACTORS[number]))
        with contextlib.suppress(OSError, KeyError):
            found.append(seen(out))

    found: list[set[float]] = []
    threads = [threading.Thread(target=one, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found, ends
    assert all(len(factors) == 1 for factors in found), found
    for factor in FACTORS:
        assert geoflow.run(clip, out, pipeline(tmp_path, factor)).exit_status == 0
        assert seen(out) == {factor} and verify(out) == []


def test_a_run_that_lost_its_folder_stops_and_finishes_nothing(
    clip: Path, tmp_path: Path, place: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owning, "BEAT_S", 0.1)
    far = Owner("far", 4711, time.time(), "another boot", "another space", "f" * 32, "")
    out = place("out")

    def take_over() -> None:
        while not calls(tmp_path):
            time.sleep(0.02)
        owning._shelf(run_paths(out)).create("000002.json", json.dumps(vars(far)).encode())

    thief = threading.Thread(target=take_over)
    thief.start()
    with pytest.raises(GeoFlowError, match="taken over by process 4711 on far"):
        geoflow.run(clip, out, pipeline(tmp_path, 1.0, seconds=1.0))
    thief.join()
    assert current_owner(run_paths(out)) == far
    with pytest.raises((OSError, KeyError)):
        seen(out)


# Processes


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "counted.yaml"
    path.write_text(yaml.safe_dump(counting_stages.shortest(tmp_path, 1.0, seconds=1.0)))
    return path


@pytest.fixture
def running(clip: Path, tmp_path: Path, config: Path) -> Iterator[subprocess.Popen[str]]:
    """`geoflow run` in another process, which has just begun to work."""
    import ray

    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, counting_stages.__file__, address, "run", str(clip), "-o", str(tmp_path / "out")]
    process = subprocess.Popen([*command, "--pipeline", str(config)], stderr=subprocess.PIPE, text=True)
    try:
        while not calls(tmp_path):
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_command_says_who_and_ends_with_two(
    clip: Path, tmp_path: Path, config: Path, running: subprocess.Popen[str]
) -> None:
    command = [
        sys.executable,
        "-m",
        "geoflow",
        "run",
        str(clip),
        "-o",
        str(tmp_path / "out"),
        "--pipeline",
        str(config),
    ]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")}
    done = subprocess.run(command, env=env, capture_output=True, text=True)  # no address: it would start a Ray
    assert done.returncode == 2 and f"process {running.pid} on" in done.stderr and "Traceback" not in done.stderr
    assert running.poll() is None  # it was not waited for
    status = read_status(tmp_path / "out")
    assert status["owner"]["pid"] == running.pid and status["state"] == "running"
    assert running.wait(timeout=60) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_was_stopped_goes_on_at_once(
    clip: Path, tmp_path: Path, config: Path, running: subprocess.Popen[str], number: int
) -> None:
    running.send_signal(number)
    running.wait(timeout=60)
    began = time.monotonic()
    result = geoflow.run(clip, tmp_path / "out", Pipeline.load(str(config)))
    assert result.exit_status == 0 and time.monotonic() - began < 30 and verify(str(tmp_path / "out")) == []
    assert not (tmp_path / "out" / ".owner").exists()
