"""The owner of an output folder: the one run that may write to it, and how the folder becomes free again.

How sure this is depends on where the folder lies:

- **On a disk of one machine** the kernel decides (`flock` on OUT/.owner/lock), also between containers. The folder is
  free as soon as its owner ends, for whatever reason.
- **On a disk that machines share** (NFS, Lustre, CephFS, ...) the same lock counts between machines if the mount passes
  it on. In any case the owner also touches a record, OUT/.owner/NNNNNN.json, every `BEAT_S`. Another machine takes the
  folder over if the record has not been touched for `LEASE_S`, by the file server's own clock. So the folder is free
  within a minute and a half after a power cut of the owner's machine.
- **In an object store** the same record lies below the URI. The stores of S3, Google and Azure let exactly one of two
  runs that start at the same time make it. Other stores may speak S3's protocol but not know `If-None-Match`. There the
  record is looked at again a second later, so two runs whose writes take longer than that can both believe they own the
  folder. If a run is killed, the next run on the same machine with the same cache folder gets the URI at once, and any
  other after `LEASE_S`.
- **A run that was stopped for longer than `LEASE_S`** (a laptop asleep, a network gone) may have lost its folder to
  another run. It sees that within `BEAT_S`, stops, and names the new owner. Its workers finish no store any more.

Only runs ask for the folder. Readers (`status`, `report`, `verify`, `export`) never wait. Even if two runs should write
at the same time in spite of all this, no store holds frames of both: parts are known by their key (see `parts`).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoflow.errors import ConfigError, StoreError
from geoflow.files import locations
from geoflow.store.kernel_lock import KernelLock, is_local
from geoflow.store.lease import Disk, Elsewhere, age_s, numbers, record_name
from geoflow.store.paths import RunPaths

BEAT_S = 10.0
LEASE_S = 60.0
_LEAVING_S = 2.0  # how long to wait for a holder that has not written its name yet, or is just ending
_TRIES = 5  # a try fails only if another run was faster


@dataclass(frozen=True)
class Owner:
    """The owner of a folder.

    `boot` identifies the kernel since its start, `space` the set of processes in which `pid` counts, and `token` this
    one ownership. `home` is the path of a folder that lies elsewhere, so that a copy of it has no owner. It is empty
    for a folder on a disk, which may have another path on each machine.
    """

    host: str
    pid: int
    since: float  # s since the epoch
    boot: str
    space: str
    token: str
    home: str

    @classmethod
    def this_process(cls, paths: RunPaths) -> Owner:
        now = round(time.time(), 3)
        return cls(socket.gethostname(), os.getpid(), now, _boot(), _space(), uuid.uuid4().hex, _home(paths))

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(self.since)).strip()
        return f"process {self.pid} on {self.host} since {since}"


class Ownership:
    """Holds a run's folder while it is entered.

    Raises ConfigError that names the owner when another run has it.
    """

    def __init__(self, paths: RunPaths) -> None:
        self._paths, self._shelf = paths, _shelf(paths)
        self._me = Owner.this_process(paths)
        self._data = json.dumps(asdict(self._me)).encode()
        self._number = 0
        self._lock: KernelLock | None = None
        self._done = threading.Event()
        self._when_lost: Callable[[], None] = lambda: None
        self.lost_to: Owner | None = None

    @property
    def token(self) -> str:
        return self._me.token

    def __enter__(self) -> Ownership:
        try:
            self._lock = self._locked()
            try:
                self._claim()
            except BaseException:
                self._lock.free()
                raise
        except (OSError, StoreError) as error:
            raise ConfigError(f"{self._paths.home} cannot be written: {error}; name a folder you may write") from None
        self._keeper = threading.Thread(target=self._keep, name="geoflow-owner", daemon=True)
        self._keeper.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._keeper.join()
        with contextlib.suppress(StoreError, OSError):  # the record then expires by itself
            self._shelf.remove(record_name(self._number))
        if self._lock is not None:
            self._lock.free()

    def when_lost(self, what: Callable[[], None]) -> None:
        """Have `what` called, in another thread, if another run takes the folder over."""
        self._when_lost = what

    def check(self) -> None:
        """Raise StoreError when another run has taken the folder over."""
        if self.lost_to is not None:
            raise StoreError(
                f"{self._paths.home} was taken over by {self.lost_to}, because this run had shown no sign of life for "
                f"more than {LEASE_S:.0f} s; this run writes nothing more. Finished work is kept"
            )

    # Taking it

    def _locked(self) -> KernelLock:
        path, until = _lock_path(self._paths), time.monotonic() + _LEAVING_S
        while True:
            try:
                return KernelLock(path, self._data.decode())
            except BlockingIOError:
                owner = _parse(path.read_bytes() if path.is_file() else b"")
                if (owner is not None and not _has_ended(owner)) or time.monotonic() > until:
                    raise self._refusal(owner) from None
                time.sleep(0.05)

    def _claim(self) -> None:
        for _ in range(_TRIES):
            there = numbers(self._shelf)
            for number in there:
                self._must_be_over(number)
            number = max(there, default=0) + 1
            if self._shelf.create(record_name(number), self._data) or self._is_mine(number):
                time.sleep(self._shelf.settle_s)
                self._withdraw_unless_first(number, there)
                self._number = number
                for old in there:
                    self._shelf.remove(record_name(old))
                return
        raise self._refusal(current_owner(self._paths))

    def _must_be_over(self, number: int) -> None:
        """Raise ConfigError unless the owner of a record is known to have ended."""
        owner = _read(self._shelf, number)
        if self._was_killed_here(owner) or (owner is not None and owner.home != self._me.home):
            return
        age = age_s(self._shelf, record_name(number))
        if age is None and owner is None:  # its record is gone by now
            return
        if age is None or age <= LEASE_S:
            raise self._refusal(owner, age)

    def _was_killed_here(self, owner: Owner | None) -> bool:
        """Return whether this process holds the lock that the owner would hold if it were alive.

        `owner` is None if it was killed before it had written its name.
        """
        lock, boot = self._lock, owner.boot if owner else ""
        if lock is None or not lock.works or not (boot == self._me.boot or is_local(_lock_path(self._paths))):
            return False
        # The lock of a folder elsewhere lies in this machine's cache folder. The owner may have used another cache.
        return not self._paths.remote or (owner is not None and _parse(lock.before.encode()) == owner)

    def _is_mine(self, number: int) -> bool:
        """Return whether a record is this run's own: it may have been made although the answer was lost."""
        return (owner := _read(self._shelf, number)) is not None and owner.token == self.token

    def _withdraw_unless_first(self, number: int, before: list[int]) -> None:
        """Raise ConfigError if another run has made a record at the same time and comes first."""
        now = numbers(self._shelf)
        others = [n for n in now if n != number and n not in before]
        if not others and self._is_mine(number):
            return
        if self._is_mine(number):
            self._shelf.remove(record_name(number))
        raise self._refusal(_read(self._shelf, max(others, default=number)))

    def _refusal(self, owner: Owner | None, age: float | None = None) -> ConfigError:
        who = str(owner) if owner else "another run, which is just starting"
        text = f"{self._paths.home} is being written by {who}; wait until it has ended, stop it, or name another -o"
        if age is not None and owner is not None and owner.boot != self._me.boot:
            text += (
                f". Its last sign of life was {age:.0f} s ago: if that machine is gone, the folder is free "
                f"{LEASE_S:.0f} s after that sign"
            )
        return ConfigError(text)

    # Keeping it

    def _keep(self) -> None:
        while not self._done.wait(BEAT_S):
            # A beat that fails is tried again soon; until then no other run takes the folder over.
            with contextlib.suppress(StoreError, OSError):
                self._beat()
            if self.lost_to is not None:
                with contextlib.suppress(KeyboardInterrupt):  # the run was asked to stop already
                    self._when_lost()
                return

    def _beat(self) -> None:
        higher = [number for number in numbers(self._shelf) if number > self._number]
        if higher and (owner := _read(self._shelf, higher[-1])) is not None:
            self.lost_to = owner
        elif not higher:
            self._shelf.touch(record_name(self._number), self._data)


def current_owner(paths: RunPaths) -> Owner | None:
    """Return the owner that the record names, which may have been killed; None if there is none. Raises StoreError."""
    shelf = _shelf(paths)
    there = numbers(shelf)
    return _read(shelf, there[-1]) if there else None


def require_owner(paths: RunPaths, token: str) -> None:
    """Raise StoreError if the folder now belongs to another run than the one with this token."""
    owner = current_owner(paths) if token else None
    if owner is not None and owner.token != token:
        raise StoreError(f"{paths.home} was taken over by {owner}; this run writes nothing more to it")


def describe_owner(paths: RunPaths) -> dict[str, Any] | None:
    """Return the owner of a run's folder, for `status`: host, pid, since (s since the epoch) and silent.

    `silent` are the seconds since the last sign of life, None if they are not known. Return None if the folder has no
    owner, or one that is known to have ended.
    """
    try:
        shelf = _shelf(paths)
        there = numbers(shelf)
        owner = _read(shelf, there[-1]) if there else None
        then = shelf.modified(record_name(there[-1])) if owner else None
    except (StoreError, OSError):  # the user may have no right to look
        return None
    silent = None if then is None else max(0.0, time.time() - then)
    if owner is None or owner.home != _home(paths) or _has_ended(owner):
        return None
    if silent is not None and silent > 2 * LEASE_S:  # clocks differ by less, as a rule
        return None
    return {"host": owner.host, "pid": owner.pid, "since": owner.since, "silent": silent}


def _has_ended(owner: Owner) -> bool:
    """Return whether the owner has ended for certain: this process would see it if it were still there."""
    is_near = _space() != "" and (owner.boot, owner.space) == (_boot(), _space())
    return is_near and not os.path.exists(f"/proc/{owner.pid}")


def _shelf(paths: RunPaths) -> Disk | Elsewhere:
    return Elsewhere(f"{paths.remote}/{paths.owner.name}") if paths.remote else Disk(paths.owner)


def _home(paths: RunPaths) -> str:
    return locations.path_of(paths.remote) if paths.remote else ""


def _lock_path(paths: RunPaths) -> Path:
    """Return the path of the lock. For a folder elsewhere it lies beside the local folder that stands for it."""
    folder = paths.root.with_name(f"{paths.root.name}{paths.owner.name}") if paths.remote else paths.owner
    return folder / "lock"


def _read(shelf: Disk | Elsewhere, number: int) -> Owner | None:
    return _parse(shelf.read(record_name(number)) or b"")


def _parse(data: bytes) -> Owner | None:
    """Return the owner that a record names; None if the record is empty or not whole yet."""
    try:
        return Owner(**json.loads(data))
    except (ValueError, TypeError):
        return None


def _space() -> str:
    """Return a name of the set of process ids (the PID namespace) of this process; "" if it is not known."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _boot() -> str:
    """Return an identifier of this machine's kernel since its start; the host name if there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
