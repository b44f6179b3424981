"""A keeper process: it makes sure that nothing of a local Ray survives its driver, however the driver ended.

Ray's own processes notice slowly that their driver was killed: agents after a minute, a worker when its call ends. So a
small process holds the other end of a pipe. When the pipe closes, it ends what is left of this Ray, and removes the
files that only Ray could have used.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# As a program this file is run alone beside `processes.py`: importing the package would load numpy for nothing.
if __package__:
    from geoflow.cluster import processes
else:
    import processes  # type: ignore[no-redef]

_LOOK_EVERY_S = 5.0  # for processes started since; those below the raylet are looked up at the end as well
_STARTING_LOOK_EVERY_S = 0.5
_ENDING_LOOK_EVERY_S = 0.1
_GRACE_S = 3.0  # for processes to end by themselves; a healthy Ray takes one second
_GONE_WITHIN_S = 10.0  # the keeper ends within this time when its Ray was shut down


class Keeper:
    """The driver's end of the pipe to the keeper process."""

    def __init__(self, ray_home: str) -> None:
        code = "import sys; sys.path.append(sys.argv[1]); import keeper; keeper.keep(int(sys.argv[2]), sys.argv[3])"
        # Isolated, without site-packages, and with this folder last on the path: its modules share names with the
        # standard library.
        command = [sys.executable, "-I", "-S", "-c", code, str(Path(__file__).parent), str(os.getpid()), ray_home]
        # The process has a session of its own: signals from a terminal to the run do not reach it.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, bufsize=0)

    def keep(self, pids: Sequence[int], leftovers: Sequence[str]) -> None:
        """Send the pids of the Ray processes that this process started, and folders to remove after them."""
        with contextlib.suppress(OSError):  # the keeper was ended by someone
            os.write(self._pipe, json.dumps({"pids": list(pids), "leftovers": list(leftovers)}).encode() + b"\n")

    def release(self) -> None:
        """Tell the keeper that Ray was shut down: it looks once more, and ends."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GONE_WITHIN_S)

    @property
    def _pipe(self) -> int:
        assert self._process.stdin is not None
        return self._process.stdin.fileno()


@contextlib.contextmanager
def kept() -> Iterator[Keeper]:
    """Run a keeper from before the start of Ray until after its shutdown."""
    import ray

    keeper = Keeper(os.path.dirname(ray.__file__))
    try:
        yield keeper
    finally:
        keeper.release()


# The keeper's own process.


def keep(driver: int, ray_home: str) -> None:
    """Wait until the pipe on stdin closes, or the driver is gone; then end the rest of its Ray."""
    family = Family(driver, ray_home)
    leftovers: list[str] = []
    told, known = b"", processes.process(driver)
    while True:
        ready, _, _ = select.select([0], [], [], _LOOK_EVERY_S if leftovers else _STARTING_LOOK_EVERY_S)
        new = os.read(0, 1 << 16) if ready else b""
        told += new
        if not leftovers and b"\n" in told:
            row = json.loads(told.partition(b"\n")[0])
            family.name(row["pids"])
            leftovers = row["leftovers"]
        family.look()
        if (ready and not new) or known is None or not processes.is_there(known):
            break
    deadline = time.monotonic() + _GRACE_S
    while family.look() and time.monotonic() < deadline:
        time.sleep(_ENDING_LOOK_EVERY_S)
    processes.end_all(family.members, 0.0)
    processes.end_all(family.look(), 0.0)  # processes that these had started meanwhile
    for folder in leftovers:
        _remove(folder)


class Family:
    """The processes of the driver's Ray, as far as they were seen."""

    def __init__(self, driver: int, ray_home: str) -> None:
        self._driver, self._home = driver, f"{ray_home}/".encode()
        self._since = found[1] if (found := processes.process(driver)) else 0
        self._terminal = processes.session(driver)
        self._before = processes.descendants(driver)
        self._starting = True
        self.members: set[processes.Process] = set()

    def name(self, pids: Sequence[int]) -> None:
        """Take the pids of Ray's processes, now that Ray is up; no other process of the driver counts."""
        self._starting = False
        self.members = {found for pid in pids if (found := processes.process(pid)) is not None}

    def look(self) -> set[processes.Process]:
        """Return the processes that run now, with all that they started."""
        if self._starting:
            started = processes.descendants(self._driver) - self._before
            self.members |= {found for found in started if self._home in processes.command_line(found[0])}
        there = {found for found in self.members | self._orphans() if processes.is_there(found)}
        self.members = there | processes.descendants(*(pid for pid, _ in there))
        return self.members

    def _orphans(self) -> set[processes.Process]:
        """Return the workers and agents whose raylet is gone.

        The system ends the raylet with the driver, and then nothing shows who started its children. They are recognised
        by the driver's session, which they inherited.
        """
        if self._starting or processes.process(self._driver) is not None:
            return set()
        return {
            found
            for found in processes.in_session(self._terminal)
            if found[1] >= self._since
            and self._is_of_ray(processes.command_line(found[0]))
            and self._home not in processes.command_line(processes.parent(found[0]))
        }

    def _is_of_ray(self, command: bytes) -> bool:
        return command.startswith(b"ray::") or (self._home in command and b"default_worker.py" in command)


def _remove(folder: str) -> None:
    """Remove a folder. A process that was just killed may still be ending."""
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            return
        time.sleep(0.2)
