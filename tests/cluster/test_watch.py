"""A Ray that ends under a run: one sentence, soon, and the run's work is kept."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from engine_runs import execute, pipeline, whole

from geoflow.cluster import watch
from geoflow.cluster.session import Capacity
from geoflow.engine import executor


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Listeners in place of the control service and the raylet of a cluster that somebody else started."""
    monkeypatch.setattr(watch, "_KNOCK_EVERY_S", 0.05)
    monkeypatch.setattr(watch, "_SILENT_S", 0.5)
    with socket.socket() as gcs, socket.socket(socket.AF_UNIX) as raylet:
        gcs.bind(("127.0.0.1", 0))
        gcs.listen()
        raylet.bind(str(tmp_path / "raylet"))
        raylet.listen()
        place = f"127.0.0.1:{gcs.getsockname()[1]}"
        there = SimpleNamespace(all_processes={}, gcs_address=place, raylet_socket_name=str(tmp_path / "raylet"))
        monkeypatch.setattr(watch, "_node", lambda: there)
        yield gcs, raylet


def soon(wanted: str, within_s: float = 5.0) -> str:
    until = time.monotonic() + within_s
    while wanted not in (found := watch.lost()) and time.monotonic() < until:
        time.sleep(0.02)
    return found


def test_a_cluster_that_answers_is_not_lost(node: tuple[socket.socket, socket.socket]) -> None:
    with watch.watched():
        time.sleep(0.8)
        assert watch.lost() == "" and not watch.silent()
    assert watch.lost() == ""


def test_a_control_service_that_is_gone_is_said_after_a_while(node: tuple[socket.socket, socket.socket]) -> None:
    with watch.watched():
        node[0].close()
        began = time.monotonic()
        while not watch.silent():
            time.sleep(0.02)
        assert watch.lost() == "", "it may come back"
        assert "control service (GCS) at 127.0.0.1" in soon("has not answered for")
        assert time.monotonic() - began >= 0.4


def test_a_raylet_that_is_gone_is_said_at_once(node: tuple[socket.socket, socket.socket]) -> None:
    with watch.watched():
        node[1].close()
        assert watch.lost() == "Ray's raylet on this machine has ended"


def test_processes_of_one_s_own_are_looked_at(
    node: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        monkeypatch.setattr(watch, "own_processes", lambda: {"gcs_server": child.pid, "dashboard": child.pid})
        with watch.watched():
            assert watch.lost() == ""
            child.kill()
            assert soon("GCS") == "Ray's control service (GCS) has ended", "dead, though not yet collected"


@pytest.mark.ray
def test_a_look_that_is_not_answered_does_not_stop_a_run(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own calls to a control service that has died come back after a minute, if at all."""
    monkeypatch.setattr(executor, "_LOOK_S", 0.1)
    monkeypatch.setattr(executor, "_ANSWER_S", 0.1)
    looks = itertools.count()

    def look() -> Capacity:
        if next(looks):
            time.sleep(60)
        return Capacity(4, 0, 1 << 28)

    began = time.monotonic()
    (video,), _, _ = execute(pipeline(tmp_path, prior__mode="slow"), look=look)
    assert whole(video) and next(looks) > 2 and time.monotonic() - began < 50


RUN = """
import os, signal, sys
from pathlib import Path
from engine_runs import execute, pipeline
from geoflow.cluster import watch
from geoflow.cluster.session import ray_cluster
from geoflow.errors import ClusterLost

def end_it(row):
    if row["event"] == "segment_complete" and row["index"] == 0:
        os.kill(watch.own_processes()[sys.argv[1]], signal.SIGKILL)

with ray_cluster(num_cpus=4, object_store_memory=200_000_000):
    try:
        execute(pipeline(Path(sys.argv[2]), prior__mode="slow", prior__segment=-1), observe=end_it)
    except ClusterLost as error:
        print(error)
"""


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("what", ["gcs_server", "raylet"])
def test_a_ray_that_ends_under_a_run_is_said_in_a_sentence(tmp_path: Path, what: str) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env = clean | {"PYTHONPATH": str(Path(__file__).parents[1] / "support"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, what, str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    (line,) = done.stdout.splitlines()
    assert "has ended in the middle of the run" in line and ("GCS" in line) is (what == "gcs_server")
    assert "0 of 1 videos are complete. Of the others, 1 finished segment and" in line
    assert "run the same command again" in line
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2, done.stderr
