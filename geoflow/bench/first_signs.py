"""What a user waits for: the time from Enter to the first output, to the first bar, and to the end of short runs.

Each command runs in a terminal of its own (a pseudo-terminal of 100 columns), as a process of its own.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoflow.synth import render_clip

_HEIGHT, _WIDTH = 40, 100
_UNSEEN = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\s")  # moves of the cursor, colours, blanks
_BAR = "━"
_FREE_PORT = 1  # nothing listens there


@dataclass(frozen=True)
class Waited:
    """One command: seconds until something was seen (None: never) and until it ended, its status, its CPU seconds."""

    first_output: float | None
    first_bar: float | None
    end: float
    status: int
    cpu_seconds: float


def first_signs(runs: int = 3, beside: Path | None = None, size: tuple[int, int] = (320, 240)) -> dict[str, Any]:
    """Return for each case the medians over `runs` runs, by the checkout: `this`, and `beside` if one is given.

    Checkouts take turns. Both use this interpreter's packages.
    """
    homes = {"this": Path(__file__).parents[2], **({} if beside is None else {"beside": beside.resolve()})}
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load": list(os.getloadavg()), "runs": runs}
    with tempfile.TemporaryDirectory(prefix="geoflow-bench-") as folder:
        clip, bad = Path(folder) / "clip.mp4", Path(folder) / "bad.mp4"
        render_clip(clip, clip.with_suffix(".gt.h5"), num_frames=48, width=size[0], height=size[1])
        bad.write_bytes(b"not a video\n")
        rows: dict[str, dict[str, list[Waited]]] = {}
        for _ in range(runs):
            for name, home in homes.items():
                out = Path(folder) / name
                for case, arguments in _cases(clip, bad, out).items():
                    waited = wait_for([sys.executable, "-m", "geoflow", *arguments], {"PYTHONPATH": str(home)})
                    rows.setdefault(case, {}).setdefault(name, []).append(waited)
                shutil.rmtree(out)
    cases = {case: {name: _medians(row) for name, row in by_home.items()} for case, by_home in rows.items()}
    return {**found, "cases": cases}


def _cases(clip: Path, bad: Path, out: Path) -> dict[str, list[str]]:
    """Return the commands' arguments in the order in which they are run: the second finds the first one's work."""
    return {
        "new video": ["run", str(clip), "-o", str(out / "new")],
        "finished video": ["run", str(clip), "-o", str(out / "new")],
        "file that is no video": ["run", str(bad), "-o", str(out / "bad")],
        "no cluster at the address": ["run", str(clip), "-o", str(out / "no"), "--address", f"127.0.0.1:{_FREE_PORT}"],
        "status": ["status", str(out / "new")],
    }


def wait_for(command: Sequence[str], environment: Mapping[str, str]) -> Waited:
    """Run a command in a terminal, and note when it writes what."""
    began = time.monotonic()
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execvpe(command[0], list(command), {**os.environ, "TERM": "xterm-256color", **environment})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", _HEIGHT, _WIDTH, 0, 0))
    output = bar = None
    try:
        while (text := _read(terminal)) is not None:
            now = time.monotonic() - began
            output = now if output is None and _UNSEEN.sub("", text) else output
            bar = now if bar is None and _BAR in text else bar
    except BaseException:
        os.kill(pid, signal.SIGINT)
        raise
    finally:
        _, status, used = os.wait4(pid, 0)
        os.close(terminal)
    end = time.monotonic() - began
    return Waited(output, bar, end, os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime)


def _read(terminal: int) -> str | None:
    """Return what the command wrote; None when it has closed the terminal."""
    select.select([terminal], [], [])
    try:
        return os.read(terminal, 1 << 16).decode(errors="replace") or None
    except OSError:
        return None


def _medians(rows: Sequence[Waited]) -> dict[str, float | int | None]:
    found: dict[str, float | int | None] = {"status": rows[-1].status}
    for name in ("first_output", "first_bar", "end", "cpu_seconds"):
        values = [value for row in rows if (value := getattr(row, name)) is not None]
        found[name] = round(statistics.median(values), 2) if values else None
    return found
