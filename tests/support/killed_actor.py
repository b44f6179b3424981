"""An actor of a run is killed while the run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Events = list[dict[str, Any]]


def after_one_segment(events: Events) -> bool:
    """The stage is done with a segment."""
    return any(event["event"] == "stage_done" for event in events)


@contextlib.contextmanager
def killed(
    ledger: Path, slot: str, when: Callable[[Events], bool] = after_one_segment, *, wait: float = 0
) -> Iterator[None]:
    """Kill the first actor of a stage, `wait` seconds after it was ready and `when` holds for the stage's events."""
    killer = threading.Thread(target=_kill, args=(ledger, slot, when, wait))
    killer.start()
    yield
    killer.join()


def deaths(ledger: Path, slot: str) -> int:
    """How many actors of a stage have died."""
    events = [json.loads(line) for line in ledger.read_text().splitlines()]
    return sum(event["event"] == "actor_died" and event["slot"] == slot for event in events)


def _kill(ledger: Path, slot: str, when: Callable[[Events], bool], wait: float) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        lines = ledger.read_text().splitlines() if ledger.is_file() else []
        own = [event for event in map(json.loads, filter(_whole, lines)) if event.get("slot") == slot]
        pids = [event["pid"] for event in own if event["event"] == "actor_ready"]
        if pids and when(own):
            time.sleep(wait)
            os.kill(pids[0], signal.SIGKILL)
            return
        time.sleep(0.02)


def _whole(line: str) -> bool:
    return line.endswith("}")
