"""`status --watch`: what another process's ledger says, as it grows."""

from __future__ import annotations

import io
import json
import os
import socket
from pathlib import Path

import pytest
from ledger_events import Event, one_run, write
from rich.console import Console

from geoflow.observe.status import fold
from geoflow.observe.watching import FollowedLedger, watch_run
from geoflow.store.paths import RunPaths


def mine(events: list[Event]) -> list[Event]:
    """The same, of a run of this very process, which is alive."""
    here = {"host": socket.gethostname(), "pid": os.getpid()}
    return [row | here if row["event"] == "run_started" else row for row in events]


def test_only_whole_lines_are_taken_in_each_once(tmp_path: Path) -> None:
    events, path = one_run(), RunPaths(tmp_path).events
    followed = FollowedLedger(path)
    assert followed.look().run == 0, "no ledger yet"
    lines = "".join(json.dumps(row) + "\n" for row in events)
    for end in range(0, len(lines), 97):
        path.write_text(lines[:end])
        followed.look()
    path.write_text(lines + "torn")
    tally = followed.look()
    whole = fold(events, lambda host, pid: True)
    assert (tally.state, tally.complete, tally.failed) == ("finished", 1, 1)
    assert tally.stages == whole.stages and tally.videos == whole.videos


@pytest.mark.parametrize("terminal", [True, False])
def test_it_is_drawn_until_the_run_ends(tmp_path: Path, terminal: bool) -> None:
    events, path = mine(one_run()), RunPaths(tmp_path).events
    write(path, events[:9])
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, legacy_windows=False)
    looks: list[float] = []

    def wait(seconds: float) -> None:
        looks.append(seconds)
        write(path, events[: 9 + 3 * len(looks)])

    watch_run(tmp_path, console, now=lambda: 1004.0 + 21 * len(looks), wait=wait)
    assert len(looks) == 3, "the last lines end the run"
    said: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert "0 of 2 videos (a)" in said and "prior" in said
    assert (said.count("\n") == 3) or terminal, "a line for each 20 s"


def test_a_run_that_is_over_or_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    for events in (one_run(), mine(one_run())[:9]):
        killed = [row | {"pid": 2**22 + 1} if row["event"] == "run_started" else row for row in events]
        write(RunPaths(tmp_path).events, killed)
        watch_run(tmp_path, Console(file=io.StringIO()), wait=lambda seconds: pytest.fail("it waits"))
