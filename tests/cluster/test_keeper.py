"""What is left of a local Ray when its driver was killed: nothing, within 20 seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geoflow.cluster.processes import Process, descendants, is_there, process

WITHIN_S = 20.0

# A driver, a raylet, its workers and a child of a worker's, as the system sees them; and a process of the user's.
PRETENDED = """
import json, os, subprocess, sys, time
from geoflow.cluster.keeper import Keeper

folder, named = sys.argv[1], sys.argv[2] == "named"
keeper = Keeper(f"{folder}/ray")
time.sleep(0.5)
users = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
raylet = subprocess.Popen([sys.executable, f"{folder}/ray/raylet.py"])
while not os.path.exists(f"{folder}/pids"):
    time.sleep(0.05)
if named:
    keeper.keep([raylet.pid], [f"{folder}/leftover"])
time.sleep(1.0)
print(json.dumps([users.pid, raylet.pid, *map(int, open(f"{folder}/pids").read().split())]), flush=True)
time.sleep(60)
"""
RAYLET = """
import os, subprocess, sys, time
home = os.path.dirname(__file__)
work = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
workers = [subprocess.Popen(["ray::Worker", "-c", work], executable=sys.executable) for _ in range(2)]
workers.append(subprocess.Popen([sys.executable, "-c", work, f"{home}/default_worker.py"]))
time.sleep(0.5)
with open(f"{home}/../writing", "w") as file:
    file.write(" ".join(str(worker.pid) for worker in workers))
os.rename(f"{home}/../writing", f"{home}/../pids")
time.sleep(60)
"""


def gone(known: set[Process], within_s: float = WITHIN_S) -> set[Process]:
    """What of these is still there after that time, if not before."""
    until = time.monotonic() + within_s
    while (left := {row for row in known if is_there(row)}) and time.monotonic() < until:
        time.sleep(0.1)
    return left


@pytest.fixture
def driver() -> Iterator[list[subprocess.Popen[str]]]:
    """Drivers of the test, and all that they start; in a session of their own, as in a terminal of theirs."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for one in started:
        one.kill()
        one.wait()
        assert one.stdout is not None
        one.stdout.close()


def start(started: list[subprocess.Popen[str]], code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments]
    started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, **options))
    return started[-1]


@pytest.mark.long
@pytest.mark.parametrize("when", ["named", "starting"])
@pytest.mark.parametrize("first", ["driver", "raylet"])
def test_all_of_a_ray_ends_with_its_driver_and_nothing_else(
    tmp_path: Path, driver: list[subprocess.Popen[str]], when: str, first: str
) -> None:
    """The kernel ends the raylet with the driver, and then its workers have no parent; any of them may end first."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "raylet.py").write_text(RAYLET)
    (tmp_path / "leftover" / "deep").mkdir(parents=True)
    one = start(driver, PRETENDED, str(tmp_path), when)
    assert one.stdout is not None
    users, raylet, *_ = pids = [int(word) for word in one.stdout.readline().strip("[]\n").split(",")]
    family = descendants(raylet) | {found for pid in pids[1:] if (found := process(pid)) is not None}
    assert len(family) >= 7
    users_own = process(users)
    assert users_own is not None
    for pid in (one.pid, raylet) if first == "driver" else (raylet, one.pid):
        os.kill(pid, signal.SIGKILL)
    one.wait()
    try:
        assert gone(family) == set()
        assert is_there(users_own), "what the user has started is none of the keeper's business"
        until = time.monotonic() + 5
        while when == "named" and (tmp_path / "leftover").exists() and time.monotonic() < until:
            time.sleep(0.1)
        assert (tmp_path / "leftover").exists() is (when == "starting")
    finally:
        os.kill(users, signal.SIGKILL)


RUN = """
import os, time
import ray
from geoflow.cluster.session import ray_cluster

class Busy:
    def nap(self):
        time.sleep(600)
    def spin(self):
        while True:
            sum(range(100_000))

with ray_cluster(num_cpus=2, object_store_memory=100_000_000):
    actors = [ray.remote(Busy).options(num_cpus=0).remote() for _ in range(3)]
    calls = [actors[0].nap.remote(), actors[1].spin.remote()]
    ray.get(actors[2].__ray_ready__.remote())
    time.sleep(1)
    print(ray._private.worker._global_node.get_session_dir_path(), flush=True)
    if os.environ["ENDS"] == "killed":
        time.sleep(600)
"""


@pytest.mark.ray
@pytest.mark.parametrize("ends", ["killed", pytest.param("orderly", marks=pytest.mark.slow)])
def test_a_real_ray_ends_with_its_driver(tmp_path: Path, driver: list[subprocess.Popen[str]], ends: str) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    one = start(driver, RUN, env=clean | {"ENDS": ends}, cwd=tmp_path)
    seen: set[Process] = set()
    until = time.monotonic() + 120
    assert one.stdout is not None
    os.set_blocking(one.stdout.fileno(), False)
    while not (session := one.stdout.readline().strip()):
        assert one.poll() is None and time.monotonic() < until
        seen |= descendants(one.pid)
        time.sleep(0.2)
    seen |= descendants(one.pid)
    assert len(seen) >= 8, "control service, raylet, two agents, three workers, the keeper"
    if ends == "killed":
        one.kill()
    one.wait(60)
    assert gone(seen) == set()
    assert not (Path(session) / "runtime_resources").exists() and (Path(session) / "logs").is_dir()
