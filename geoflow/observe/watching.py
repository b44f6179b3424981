"""`geoflow status --watch`: the progress of a run that another process does, drawn until the run ends."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from geoflow.observe.board import Board, board_of
from geoflow.observe.console import in_a_line, live_display, render_board
from geoflow.observe.events import parse_event
from geoflow.observe.status import is_alive
from geoflow.observe.tally import Tally
from geoflow.store.mirror import records

_LOOK_EVERY_S = 0.5
_FETCH_EVERY_S = 10.0  # of a ledger that is copied from elsewhere
_LINE_EVERY_S = 20.0


class FollowedLedger:
    """The tally of a ledger that grows. Each look reads only what is new."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0  # bytes
        self.tally = Tally()

    def look(self) -> Tally:
        """Take in the whole lines that were added; a line that is still being written waits for the next look."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.splitlines():
                if (row := parse_event(line)) is not None:
                    self.tally.observe(row)
        return self.tally

    @property
    def goes_on(self) -> bool:
        """Return whether the latest run goes on, as far as this machine can tell."""
        tally = self.tally
        return tally.goes_on and is_alive(tally.host, tally.pid) is not False


def watch_run(
    out: str | os.PathLike[str],
    console: Console,
    *,
    now: Callable[[], float] = time.time,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Draw the run that goes on in a folder, or at a URI, until it ends: bars on a terminal, now and then a line
    elsewhere."""
    followed, far = _open(out)
    if not followed.goes_on:
        return
    board: list[Board] = [board_of(followed.tally, now())]
    drawn: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if console.is_terminal:
        drawn = live_display(console, lambda: render_board(board[0], console.width))
    said = -_LINE_EVERY_S
    with drawn:
        while followed.goes_on:
            board[0] = board_of(followed.tally, now())
            if not console.is_terminal and now() - said >= _LINE_EVERY_S:
                said = now()
                console.print(in_a_line(board[0]), highlight=False, soft_wrap=True, markup=False)
            wait(_FETCH_EVERY_S if far else _LOOK_EVERY_S)
            if far:
                followed, _ = _open(out)
            else:
                followed.look()


def _open(out: str | os.PathLike[str]) -> tuple[FollowedLedger, bool]:
    """Return the ledger, read to its end, and whether it lies elsewhere."""
    with records(out, ["events.jsonl"]) as paths:
        followed = FollowedLedger(paths.events)
        followed.look()
        return followed, bool(paths.remote)
