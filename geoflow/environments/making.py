"""Make an environment's folder once, whichever processes ask for it, and run the commands that it takes."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from geoflow.environments import kept

PYTHON = Path("bin", "python")  # of an environment's folder
_LAST = 50  # lines of pip's output that an error keeps, as many as in Ray


def make_once(home: Path, make: Callable[[Path, int], None], packages: Sequence[str], *, around: bool = True) -> Path:
    """Return the Python of the environment in folder `home`; make the environment if it is missing.

    `make` gets an empty place and a descriptor of the lock, which the commands that it runs hold, too. `packages` and
    `around` are for the note of `kept`.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # only one process on this machine makes this environment
        if not home.is_dir():
            draft = home.with_suffix(".new")
            shutil.rmtree(draft, ignore_errors=True)  # left by a process that was killed meanwhile
            try:
                make(draft, lock.fileno())
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
            os.replace(draft, home)
        kept.note(home, packages, around=around)
    return home / PYTHON


def run(command: list[str], lock: int, variables: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    """Run a command, which holds the lock, too: if this process is killed, others wait until the command has ended.

    Raises RuntimeError with the command's last lines if it fails.
    """
    done = subprocess.run(
        command,
        env=os.environ | (variables or {}),
        cwd=cwd,
        pass_fds=[lock],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-_LAST:])
        raise RuntimeError(f"{' '.join(command[1:4])} failed with exit status {done.returncode}:\n{last}")
