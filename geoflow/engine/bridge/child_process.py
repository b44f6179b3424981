"""The child process as the actor has it: it starts, what it prints reaches the log, and it ends with all it started."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from geoflow.engine.bridge import bootstrap
from geoflow.engine.bridge.channel import Channel
from geoflow.engine.bridge.remote_errors import ChildDied
from geoflow.environments.pythons import FoundPython
from geoflow.files import resources

_NOT_ITS_OWN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")  # Ray's Python's
_LAST = 12  # lines of its output that a report of its death has
_LONGEST = 1 << 14  # bytes of a line in the log; what comes after them is the next one
_ENDS_WITHIN_S = 5.0  # after it has been asked to


class ChildProcess:
    """A running child, which has said what it is: `about` holds its pid, and the versions of Python and numpy."""

    def __init__(
        self, python: FoundPython, name: str, package: str, listener: Callable[[str], None] | None = None
    ) -> None:
        """`name` begins each line that it prints; `package` is the top-level package of the stage's module.

        `listener` gets each line, besides the log.

        Raises ChildDied if it ends at once, with its last lines.
        """
        self.name, self.python, self._listener = name, python, listener
        self._oom_kills = _oom_kills()
        self._last: collections.deque[str] = collections.deque(maxlen=_LAST)
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        lifeline, self._lifeline = os.pipe()
        found = json.dumps({"packages": _packages(package), "path": _own_folders()})
        with its:
            self._process = subprocess.Popen(
                [python.executable, "-u", bootstrap.__file__, str(its.fileno()), str(lifeline), found],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[its.fileno(), lifeline],
                env=_variables(python),
                start_new_session=True,  # a Ctrl-C in the terminal is the driver's
            )
        os.close(lifeline)
        self._threads = [
            threading.Thread(target=self._log, args=(stream,), daemon=True)
            for stream in (self._process.stdout, self._process.stderr)
        ]
        for thread in self._threads:
            thread.start()
        self.channel = Channel(ours)
        try:
            _, self.about = self.channel.receive()
        except (EOFError, OSError):
            raise self.died() from None
        except BaseException:
            self.end()
            raise
        self.pid: int = self.about["pid"]

    def died(self) -> Exception:
        """Return the error that says how it ended, after it has; it is ended if it has only closed its socket.

        A MemoryError if the system has killed it because memory ran out, else a ChildDied.
        """
        code = self._code()
        self.end()
        last = "".join(f"\n  | {line}" for line in self._last)
        if code == 128 + signal.SIGKILL and _oom_kills() > self._oom_kills:
            return MemoryError(f"out of memory: the system killed the stage's child process{last}")
        how = f"exit status {code}"
        if code > 128:
            with contextlib.suppress(ValueError):
                how = f"killed by {signal.Signals(code - 128).name}"
        elif code < 0:
            how = "it closed its socket and went on"
        version = self.python.executable
        return ChildDied(f"the stage's child process ({version}) is gone: {how}{last}", killed=code > 128)

    def end(self) -> None:
        """End it and everything that it has started, now. Nothing happens if it is gone already."""
        self.channel.close()
        with contextlib.suppress(OSError):
            os.close(self._lifeline)
        self._lifeline = -1
        try:
            self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:  # its guard is stopped, or was killed
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if pid := getattr(self, "pid", 0):  # if the guard was killed before it could
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        for thread in self._threads:
            thread.join(_ENDS_WITHIN_S)

    def _code(self) -> int:
        """Return its exit status, as a shell has it; -1 if it does not end."""
        try:
            code = self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            return -1
        return code if code >= 0 else 128 - code

    def _log(self, stream: IO[bytes] | None) -> None:
        """Bring each line to this process's stderr, which is the actor's log. It ends when nobody writes any more."""
        assert stream is not None
        with stream:
            for line in iter(lambda: stream.readline(_LONGEST), b""):
                text = line.decode(errors="replace").rstrip("\r\n")
                self._last.append(text)
                if self._listener is not None:
                    self._listener(text)
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.write(f"[{self.name}] {text}\n")  # in one piece: there are two of these threads
                    sys.stderr.flush()


def _variables(python: FoundPython) -> dict[str, str]:
    """Return the child's environment: the actor's, with the interpreter's own programs first."""
    found = {name: value for name, value in os.environ.items() if name not in _NOT_ITS_OWN}
    own = str(Path(python.executable).parent)
    return {**found, "PATH": os.pathsep.join([own, *filter(None, [found.get("PATH", "")])])}


def _packages(package: str) -> dict[str, str]:
    """Return the folders of those top-level packages that the child takes from this Python."""
    found = {"geoflow": str(resources.roots()[0])}
    for name in ("actors", package):
        module: Any = sys.modules.get(name)
        if module is None or name in found:
            continue
        place = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), None)
        if place is not None:
            path = Path(place)
            found[name] = str(path.parent if path.name == f"{name}.py" or path.is_dir() else path.parents[1])
    return found


def _own_folders() -> list[str]:
    """Return the folders on this Python's path that belong to the user, and not to an installation."""
    installed = {os.path.realpath(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")}
    found = []
    for folder in sys.path:
        real = os.path.realpath(folder or os.getcwd())
        within = real.split(os.sep)
        packages = "site-packages" in within or "dist-packages" in within
        if os.path.isdir(real) and not packages and not any(real.startswith(home) for home in installed):
            found.append(real)
    return found


def _oom_kills() -> int:
    """Return how often the system has killed a process because memory ran out: of this group, else of the machine."""
    for path in ("/sys/fs/cgroup/memory.events", "/proc/vmstat"):
        with contextlib.suppress(OSError, ValueError), open(path) as rows:
            for row in rows:
                if row.startswith("oom_kill "):
                    return int(row.split()[1])
    return 0
