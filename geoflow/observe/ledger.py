"""The ledger: every event of a run, one JSON object per line, appended as it happens."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from geoflow.observe.clock import SteadyClock
from geoflow.observe.events import check, iter_events

# Events that may come thousands of times per second wait this long for the thread that writes them. Encoding many
# together takes a third of the time of encoding each alone (caches), and it happens while the driver sleeps in
# `ray.wait`. A segment's end is written before `emit` returns, unless the last write was so recent that the next is due
# soon anyway. Every other event, and all events before it, are passed to the system when `emit` returns.
_WAITS_S = {"stage_done": 0.2, "segment_complete": 0.05}
_RUN_STARTED = b'"event": "run_started"'  # cannot occur inside a JSON string, where quotes are escaped

_encode = json.JSONEncoder(default=str).encode


class Ledger:
    """Appends events to a file and passes each event on to observers (the progress display, the metrics)."""

    def __init__(self, path: Path, observers: tuple[Callable[[dict[str, Any]], None], ...] = ()) -> None:
        self._path, self._observers = path, observers
        self._file: BinaryIO | None = None
        self._waiting: deque[dict[str, Any]] = deque()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._written = 0.0  # when, by the monotonic clock
        self._now = SteadyClock()

    def __enter__(self) -> Ledger:
        self._file = self._path.open("a+b")
        _end_torn_line(self._file)
        self._closed, self._now = False, SteadyClock()
        self._writer = threading.Thread(target=self._keep_writing, name="geoflow-ledger", daemon=True)
        self._writer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closed = True
        self._wake.set()
        self._writer.join()
        self._write()
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def emit(self, event: str, **data: Any) -> None:
        """Record one event; its values must not change afterwards. On a full disk the record is lost, but the run
        continues.

        Raises KeyError for an event that `events.EVENTS` lacks, TypeError if a required field is missing.
        """
        check(event, data)
        row = {"time": round(self._now(), 3), "event": event, **data}
        self._waiting.append(row)
        if event != "stage_done":
            if time.monotonic() - self._written >= _WAITS_S.get(event, 0.0):
                self._write()
            else:
                self._wake.set()
        for observe in self._observers:
            observe(row)

    def _keep_writing(self) -> None:
        while not self._closed:
            if self._wake.wait(_WAITS_S["stage_done"]):
                self._wake.clear()
                time.sleep(_WAITS_S["segment_complete"])  # for more to come
            self._write()

    def _write(self) -> None:
        with self._writing:
            lines = []
            while self._waiting:
                lines.append(_encode(self._waiting.popleft()) + "\n")
            self._written = time.monotonic()
            if lines and self._file is not None:
                try:
                    self._file.write("".join(lines).encode("utf-8", "backslashreplace"))
                    self._file.flush()
                except OSError:
                    self._file = None


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the events of every run into this folder, oldest first."""
    return list(iter_events(path))


def last_run(path: Path) -> int:
    """Return the byte at which the latest run into this folder begins; 0 if the ledger does not say."""
    found = at = 0
    with path.open("rb") as lines:
        for line in lines:
            if _RUN_STARTED in line:
                found = at
            at += len(line)
    return found


def _end_torn_line(file: BinaryIO) -> None:
    """End an incomplete line that a killed run may have left; otherwise the next event would be lost with it."""
    if file.seek(0, 2):
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")
