"""The ledger: every event of a run, one JSON object per line, appended as it happens."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

# The one event that can come thousands of times a second. It may wait this long for the thread that writes it, so
# that its encoding happens while the driver sleeps in `ray.wait`; every other event is on its way to the disk, and
# all before it, when `emit` returns.
_FREQUENT = "stage_done"
_WRITE_EVERY_S = 0.2
_RUN_STARTED = b'"event": "run_started"'  # cannot stand inside a JSON string, where quotes are escaped

_encode = json.JSONEncoder(default=str).encode


class Ledger:
    """Appends events to a file and passes each on to observers (the progress display, the metrics)."""

    def __init__(self, path: Path, observers: tuple[Callable[[dict[str, Any]], None], ...] = ()) -> None:
        self._path, self._observers = path, observers
        self._file: BinaryIO | None = None
        self._waiting: deque[dict[str, Any]] = deque()
        self._writing = threading.Lock()
        self._closing = threading.Event()

    def __enter__(self) -> Ledger:
        self._file = self._path.open("a+b")
        _end_torn_line(self._file)
        self._closing.clear()
        self._writer = threading.Thread(target=self._keep_writing, name="geoflow-ledger", daemon=True)
        self._writer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        self._writer.join()
        self._write()
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def emit(self, event: str, **data: Any) -> None:
        """Record one event; its values must not change afterwards. A full disk costs the record, not the run."""
        row = {"time": round(time.time(), 3), "event": event, **data}
        self._waiting.append(row)
        if event != _FREQUENT:
            self._write()
        for observe in self._observers:
            observe(row)

    def _keep_writing(self) -> None:
        while not self._closing.wait(_WRITE_EVERY_S):
            self._write()

    def _write(self) -> None:
        with self._writing:
            lines = []
            while self._waiting:
                lines.append(_encode(self._waiting.popleft()) + "\n")
            if lines and self._file is not None:
                try:
                    self._file.write("".join(lines).encode("utf-8", "backslashreplace"))
                    self._file.flush()
                except OSError:
                    self._file = None


def iter_events(path: Path, start: int = 0) -> Iterator[dict[str, Any]]:
    """The events from byte `start` on, oldest first; a line cut short by a kill is left out."""
    with path.open("rb") as lines:
        lines.seek(start)
        for line in lines:
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and "event" in row and "time" in row:
                    yield row


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of every run into this folder, oldest first."""
    return list(iter_events(path))


def last_run(path: Path) -> int:
    """The byte at which the latest run into this folder begins; 0 when the ledger does not say."""
    found = at = 0
    with path.open("rb") as lines:
        for line in lines:
            if _RUN_STARTED in line:
                found = at
            at += len(line)
    return found


def _end_torn_line(file: BinaryIO) -> None:
    """A killed run may have left half a line; without its end the next event would be lost with it."""
    if file.seek(0, 2):
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")
