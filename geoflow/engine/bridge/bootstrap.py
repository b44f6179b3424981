"""What the other interpreter is started with, as a script: it finds GeoFlow, and nothing else of Ray's Python.

The process that is started forks. The first one, the guard, only waits: when the actor is gone, however it ended, or
when the stage's process is, the guard ends everything that the stage has started. The stage runs in the second one. It
could not watch the actor itself: foreign code may hold the interpreter for as long as it likes.

Uses only the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.machinery
import json
import os
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1


class OnlyThese:
    """An import finder for a few top-level packages, each in its folder, whose other packages stay unseen."""

    def __init__(self, folders):
        self._folders = folders

    def find_spec(self, name, path=None, target=None):
        if path is None and name in self._folders:
            return importlib.machinery.PathFinder.find_spec(name, [self._folders[name]])
        return None

    def invalidate_caches(self):
        """Do nothing: the import system calls this for every finder, and this finder keeps nothing."""


def split_off(lifeline: int, connection: int) -> None:
    """Fork: return in the child. The parent watches over it, and ends with its exit status.

    `lifeline` is a pipe's reading end that comes to its end when the actor does.
    """
    ended, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(tell)
    guard, pid = os.getpid(), os.fork()
    if pid:
        _watch(pid, lifeline, ended, connection)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor in (ended, tell, lifeline):
        os.close(descriptor)
    os.setpgid(0, 0)  # what the stage starts is ended with it
    with contextlib.suppress(OSError, AttributeError):  # another C library; the guard is enough then
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(1)


def _watch(pid: int, lifeline: int, ended: int, connection: int) -> None:
    os.close(connection)  # the actor sees the stage's end of it close
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    select.select([lifeline, ended], [], [])
    _end_group(pid) if select.select([lifeline], [], [], 0)[0] else None
    _, status = os.waitpid(pid, 0)
    _end_group(pid)
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
    os._exit(code)


def _end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def main() -> None:
    connection, lifeline = int(sys.argv[1]), int(sys.argv[2])
    found = json.loads(sys.argv[3])
    split_off(lifeline, connection)
    sys.path.pop(0)  # this script's folder
    sys.argv[:] = [sys.argv[0]]
    sys.path += [folder for folder in found["path"] if folder not in sys.path]
    sys.meta_path.insert(0, OnlyThese(found["packages"]))
    from geoflow.engine.bridge.foreign_worker import serve

    serve(connection)


if __name__ == "__main__":
    main()
