"""The ledger: every event of a run, one JSON object per line, appended as it happens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO


class Ledger:
    """Appends events to a file and passes each on to observers (the progress display)."""

    def __init__(self, path: Path, observers: tuple[Callable[[dict[str, Any]], None], ...] = ()) -> None:
        self._path, self._observers = path, observers
        self._file: TextIO | None = None

    def __enter__(self) -> Ledger:
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def emit(self, event: str, **data: Any) -> None:
        """Record one event. A full disk costs the record, not the run."""
        row = {"time": round(time.time(), 3), "event": event, **data}
        if self._file is not None:
            try:
                self._file.write(json.dumps(row, default=str) + "\n")
                self._file.flush()
            except OSError:
                self._file = None
        for observe in self._observers:
            observe(row)


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of every run into this folder, oldest first; a line cut short by a kill is left out."""
    rows = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return rows
