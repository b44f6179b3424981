"""Signals that stop a run, in a process of its own: SIGTERM, and a terminal that closes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.long

WAITS = """
import fcntl, json, os, sys, termios, time
from pathlib import Path
from geoflow.engine.stopping import stop_on_signals

if os.isatty(2):
    fcntl.ioctl(2, termios.TIOCSCTTY, 0)
with stop_on_signals() as stop:
    Path(sys.argv[1], "up").touch()
    until = time.monotonic() + 20
    while not stop.asked and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.3)  # a second signal may come
    print("still at work", file=sys.stderr, flush=True)
    left = stop._until - time.monotonic()
    Path(sys.argv[1], "found.new").write_text(json.dumps({"asked": stop.asked, "left": left}))
    Path(sys.argv[1], "found.new").rename(Path(sys.argv[1], "found"))
"""


def start(folder: Path, **options: Any) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-c", WAITS, str(folder)], start_new_session=True, **options)
    wait_for(folder / "up")
    return child


def wait_for(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} did not come"
        time.sleep(0.02)


def found(folder: Path) -> dict[str, Any]:
    wait_for(folder / "found")
    told: dict[str, Any] = json.loads((folder / "found").read_text())
    return told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_a_run_some_seconds(tmp_path: Path, number: signal.Signals) -> None:
    child = start(tmp_path)
    child.send_signal(number)
    told = found(tmp_path)
    assert told["asked"] and 10 < told["left"] <= 20 and child.wait(20) == 0


def test_a_terminal_that_closes_does_not_cost_the_orderly_end(tmp_path: Path) -> None:
    """Its shell sends the signal, too; and what is written to it from then on would be an error."""
    ours, theirs = pty.openpty()
    child = start(tmp_path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)
    child.send_signal(signal.SIGHUP)
    told = found(tmp_path)
    assert told["asked"] and 10 < told["left"] <= 20 and child.wait(20) == 0


def test_what_nohup_has_started_goes_on(tmp_path: Path) -> None:
    child = start(tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    child.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert not (tmp_path / "found").exists()
    child.send_signal(signal.SIGTERM)
    assert found(tmp_path)["asked"] and child.wait(20) == 0
