"""`geoflow envs prune`: which of the kept environments no run will use again, and their removal.

Every change of the core's packages makes new environments, and leaves the old ones. An environment that is removed by
mistake costs the time to make it again; one that is removed under a running cluster would cost its work. So whatever
may be in use is kept: while it is being made, while a process runs in it, and while a Ray runs on this machine that was
there at its last use.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geoflow.cluster.processes import command_line, started
from geoflow.environments import bare_packages, interpreter, kept
from geoflow.environments.environment import load_runtime_env
from geoflow.errors import EnvironmentBroken
from geoflow.planning.environment_building import sizes
from geoflow.planning.environment_listing import names
from geoflow.store.kernel_lock import is_local

_SLACK_S = 60.0  # a Ray that started so long after the last use may have started for it: clocks of disks differ
_BEING_MADE = "it is being made at this moment"
_UNASKED = "no file of runtime_envs/ asks for it"
_UNASKED_STAYS = f"it fits, but {_UNASKED}: --unwanted removes it"
_UNFINISHED = (".new", ".old")  # being made, being removed


@dataclass(frozen=True)
class KeptEnvironment:
    """An environment on this disk, and whether it can go."""

    path: str
    bytes: int
    last_used: float  # seconds since 1970; 0: not known
    packages: Sequence[str]  # that it installs; () if not known
    removable: bool
    reason: str  # why it can go, or why it stays
    removed: bool = False


def find_environments(
    files: Sequence[str] = (), *, unwanted: bool = False, other_machines: bool = False
) -> list[KeptEnvironment]:
    """Return every environment on this disk, those that can go first.

    `files` are environments of the user's own that are still wanted. With `unwanted`, environments go that fit the
    present packages, but that no file of runtime_envs/ and none of `files` asks for. With `other_machines`, those go
    that another machine used last: the user knows that none of its clusters runs.

    Raises ConfigError if one of `files` cannot be read.
    """
    home = kept.folder()
    paths = sorted(path for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
    judge = _Judge(files, unwanted=unwanted, other_machines=other_machines, local=is_local(home))
    rows = []
    for path in paths:
        found = kept.read_note(path)
        removable, reason = judge.verdict(path, found)
        packages = tuple(found.packages) if found else ()
        rows.append(KeptEnvironment(str(path), size(path), kept.last_used(path), packages, removable, reason))
    return sorted(rows, key=lambda row: (not row.removable, row.last_used))


def remove(rows: Sequence[KeptEnvironment]) -> list[KeptEnvironment]:
    """Remove the environments that can go, unless they are in use by now; return what became of each."""
    return [_removed(row) if row.removable else row for row in rows]


def size(path: Path) -> int:
    """Return the bytes of an environment's files."""
    try:
        return sizes(path, path / "nothing")[0]
    except OSError:  # a file that is gone meanwhile
        return 0


def _removed(row: KeptEnvironment) -> KeptEnvironment:
    path = Path(row.path)
    with _locked(path) as ours:
        if not ours or (reason := _in_use(path)):
            return replace(row, removable=False, reason=reason if ours else _BEING_MADE)
        old = path if path.suffix in _UNFINISHED else path.with_suffix(".old")
        try:
            if old != path:
                shutil.rmtree(old, ignore_errors=True)
                os.replace(path, old)  # at once: nobody finds half an environment
            shutil.rmtree(old)
            path.with_suffix(".json").unlink(missing_ok=True)
        except OSError as error:
            return replace(row, reason=f"it cannot be removed: {error.strerror}")
    return replace(row, removed=True)


class _Judge:
    def __init__(self, files: Sequence[str], *, unwanted: bool, other_machines: bool, local: bool) -> None:
        self._wanted = _wanted_keys([*names(), *files])
        self._unwanted, self._other_machines, self._local = unwanted, other_machines, local
        self._surroundings, self._packages = kept.surroundings(), set(kept.installed_packages())

    def verdict(self, path: Path, note: kept.Note | None) -> tuple[bool, str]:
        """Return whether an environment can go, and why or why not."""
        with _locked(path) as ours:
            if not ours:
                return False, _BEING_MADE
        if reason := _in_use(path) or self._elsewhere(note):
            return False, reason
        if path.suffix in _UNFINISHED:
            return True, "left by a process that was ended"
        if wanted_by := self._wanted.get(path.name):
            return False, f"it is the present environment {wanted_by}"
        return self._by_surroundings(path, note)

    def _elsewhere(self, note: kept.Note | None) -> str:
        if self._other_machines:
            return ""
        if note is not None and note.host != socket.gethostname():
            return f"{note.host} used it last: prune there, or add --other-machines if no cluster runs there"
        if note is None and not self._local:
            return "other machines may use this disk: add --other-machines if no cluster runs on them"
        return ""

    def _by_surroundings(self, path: Path, note: kept.Note | None) -> tuple[bool, str]:
        if note is not None and not note.around:  # an interpreter that borrows nothing never grows old
            return self._unwanted, _UNASKED if self._unwanted else _UNASKED_STAYS
        borrowed = kept.borrows_from(path)
        ours = note.around == sys.prefix if note else bool(self._packages & set(borrowed))
        if not ours:
            around = note.around if note else (borrowed or ["not known"])[0]
            if not os.path.isdir(around):
                return True, f"the Python that it borrows from is gone: {around}"
            return False, f"it belongs to another Python: {around}"
        if note is None:
            return True, "made beside other packages than there are now, or for a file that has changed"
        if note.surroundings != self._surroundings:
            return True, "made beside other packages than there are now"
        return self._unwanted, _UNASKED if self._unwanted else _UNASKED_STAYS


def _wanted_keys(wanted: Sequence[str]) -> dict[str, str]:
    """Return the key of each of these environments, as a run would use them now, with their names."""
    from geoflow.environments import overlay

    keys: dict[str, str] = {}
    for name in wanted:
        stated = load_runtime_env(name)
        if (foreign := interpreter.wanted(stated)) is not None and foreign.python:
            with contextlib.suppress(EnvironmentBroken):  # its Python is gone: it cannot be made any more
                keys[interpreter.home_of(foreign).name] = name
        env = overlay.instead_of_pip(bare_packages.split(stated)[0])
        if overlay.FIELD in env:
            with contextlib.suppress(OSError):  # its requirements file is gone: it cannot be made any more
                keys[overlay.key(env[overlay.FIELD])] = name
    return keys


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold the lock of an environment, without waiting; False if another process holds it. Its time stays as it is."""
    try:
        handle = os.open(path.with_suffix(".lock"), os.O_RDWR)
    except FileNotFoundError:  # nobody has made it here
        yield True
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(handle)


def _in_use(path: Path) -> str:
    """Return what uses an environment, or may use it, on this machine; "" if nothing does."""
    inside, used = os.fsencode(path) + b"/", kept.last_used(path)
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        words = command_line(pid).split(b"\0")
        if any(word.startswith(inside) for word in words):
            return f"process {pid} runs in it"
        if os.path.basename(words[0]) == b"raylet" and used >= started(pid) - _SLACK_S:
            return f"a Ray cluster that runs here may use it (process {pid})"
    return ""


def render_environments_kept(rows: Sequence[KeptEnvironment]) -> Any:
    """Show `find_environments` or `remove` on the console."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = []
    groups: list[tuple[str, Callable[[KeptEnvironment], bool]]] = [
        ("removed", lambda row: row.removed),
        ("can go", lambda row: row.removable and not row.removed),
        ("stay", lambda row: not row.removable),
    ]
    for title, belongs in groups:
        if chosen := [row for row in rows if belongs(row)]:
            total = sum(row.bytes for row in chosen)
            parts.append(Text(f"{title}: {len(chosen)}, {_megabytes(total)}", style="bold"))
            parts += [Text(line) for row in chosen for line in _lines(row)]
    return Group(*(parts or [Text(f"no environments in {kept.folder()}")]))


def _lines(row: KeptEnvironment) -> list[str]:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.last_used)) if row.last_used else "not known"
    about = f"; installs {', '.join(row.packages)}" if row.packages else ""
    return [f"  {row.path}", f"    {_megabytes(row.bytes)}, used last: {used}{about}", f"    {row.reason}"]


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
