"""One run at a time writes to an output folder: who that is, how others know, and how the folder gets free again.

What holds where:

- **On a disk of one machine** the kernel decides (`flock` on OUT/.owner/lock), also between containers. The folder is
  free the moment its owner ends, whatever ended it.
- **On a disk that machines share** (NFS, Lustre, CephFS, ...) the same lock holds between machines where the mount
  passes it on. It need not: the owner also touches a record, OUT/.owner/NNNNNN.json, every `BEAT_S`. Another machine
  takes the folder over when the record has not been touched for `LEASE_S` by the file server's own clock. So after a
  power cut of the owner's machine the folder is free within a minute and a half.
- **In an object store** the same record is kept below the URI; S3, Google's and Azure's stores let exactly one of two
  runs that start at once make it. Stores that speak S3's language but do not know `If-None-Match` are looked at once
  more a second later, which leaves a race of two writes that take longer than that. A run killed on this machine gives
  the URI back at once to the next one here that uses the same cache folder, to others after `LEASE_S`.
- **A run that was stopped for longer than `LEASE_S`** (a laptop asleep, a network away) and whose folder was taken over
  meanwhile sees that within `BEAT_S`, stops, and names the new owner. Its workers finish no store then.

Nobody but a run asks: readers (`status`, `report`, `verify`, `export`) are never held back. Should all of this be
circumvented, no store holds frames of two runs even so: parts are known by their key (see `parts`).
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
_LEAVING_S = 2.0  # for a lock whose holder gives no name yet, or has just ended
_TRIES = 5  # each is lost only to somebody who was faster


@dataclass(frozen=True)
class Owner:
    """Who has a folder; `boot` names a kernel from its start on, `space` where `pid` counts, `token` this owning.

    `home` is the path of a folder elsewhere: a copy of a folder is owned by nobody. One folder of a disk has as many
    paths as there are machines.
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
        with contextlib.suppress(StoreError, OSError):  # then it ends by itself
            self._shelf.remove(record_name(self._number))
        if self._lock is not None:
            self._lock.free()

    def when_lost(self, what: Callable[[], None]) -> None:
        """What to do, in another thread, should another run take the folder over."""
        self._when_lost = what

    def check(self) -> None:
        """Raise StoreError when another run has taken the folder over."""
        if self.lost_to is not None:
            raise StoreError(
                f"{self._paths.home} was taken over by {self.lost_to}, after this run had given no sign of life for "
                f"more than {LEASE_S:.0f} s; nothing more is written. What is finished is kept"
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
        if age is None and owner is None:  # gone meanwhile
            return
        if age is None or age <= LEASE_S:
            raise self._refusal(owner, age)

    def _was_killed_here(self, owner: Owner | None) -> bool:
        """This process has the lock that the owner would hold if it were alive; None: it came to writing no name."""
        lock, boot = self._lock, owner.boot if owner else ""
        if lock is None or not lock.works or not (boot == self._me.boot or is_local(_lock_path(self._paths))):
            return False
        # The lock of a folder elsewhere lies in this cache folder; the owner may have had another one.
        return not self._paths.remote or (owner is not None and _parse(lock.before.encode()) == owner)

    def _is_mine(self, number: int) -> bool:
        """It was made after all, though the answer was lost and it was tried again."""
        return (owner := _read(self._shelf, number)) is not None and owner.token == self.token

    def _withdraw_unless_first(self, number: int, before: list[int]) -> None:
        """Raise ConfigError when somebody else has made a record at the same time and comes first."""
        now = numbers(self._shelf)
        others = [n for n in now if n != number and n not in before]
        if not others and self._is_mine(number):
            return
        if self._is_mine(number):
            self._shelf.remove(record_name(number))
        raise self._refusal(_read(self._shelf, max(others, default=number)))

    def _refusal(self, owner: Owner | None, age: float | None = None) -> ConfigError:
        who = str(owner) if owner else "another run, which is just beginning"
        text = f"{self._paths.home} is being written by {who}; wait until it has ended, or stop it, or name another -o"
        if age is not None and owner is not None and owner.boot != self._me.boot:
            text += (
                f". Its last sign of life was {age:.0f} s ago: if that machine is gone, the folder is free "
                f"{LEASE_S:.0f} s after it"
            )
        return ConfigError(text)

    # Keeping it

    def _keep(self) -> None:
        while not self._done.wait(BEAT_S):
            with contextlib.suppress(StoreError, OSError):  # the next time; nobody takes it over so soon
                self._beat()
            if self.lost_to is not None:
                with contextlib.suppress(KeyboardInterrupt):  # it was asked to stop before
                    self._when_lost()
                return

    def _beat(self) -> None:
        higher = [number for number in numbers(self._shelf) if number > self._number]
        if higher and (owner := _read(self._shelf, higher[-1])) is not None:
            self.lost_to = owner
        elif not higher:
            self._shelf.touch(record_name(self._number), self._data)


def current_owner(paths: RunPaths) -> Owner | None:
    """Who has a run's folder, by the record alone: whoever it names may have been killed. Raises StoreError."""
    shelf = _shelf(paths)
    there = numbers(shelf)
    return _read(shelf, there[-1]) if there else None


def require_owner(paths: RunPaths, token: str) -> None:
    """Raise StoreError when another run than the one with this token has the folder by now."""
    owner = current_owner(paths) if token else None
    if owner is not None and owner.token != token:
        raise StoreError(f"{paths.home} was taken over by {owner}; this run writes nothing more to it")


def describe_owner(paths: RunPaths) -> dict[str, Any] | None:
    """Who has a run's folder, for `status`: host, pid, since (s since the epoch) and `silent`, seconds since the last
    sign of life, None where nobody knows; None when nobody has it, or whoever had it is known to have ended."""
    try:
        shelf = _shelf(paths)
        there = numbers(shelf)
        owner = _read(shelf, there[-1]) if there else None
        then = shelf.modified(record_name(there[-1])) if owner else None
    except (StoreError, OSError):  # who may only read
        return None
    silent = None if then is None else max(0.0, time.time() - then)
    if owner is None or owner.home != _home(paths) or _has_ended(owner):
        return None
    if silent is not None and silent > 2 * LEASE_S:  # clocks differ by less, as a rule
        return None
    return {"host": owner.host, "pid": owner.pid, "since": owner.since, "silent": silent}


def _has_ended(owner: Owner) -> bool:
    """Whether it was a process that this one would see if it were there."""
    is_near = _space() != "" and (owner.boot, owner.space) == (_boot(), _space())
    return is_near and not os.path.exists(f"/proc/{owner.pid}")


def _shelf(paths: RunPaths) -> Disk | Elsewhere:
    return Elsewhere(f"{paths.remote}/{paths.owner.name}") if paths.remote else Disk(paths.owner)


def _home(paths: RunPaths) -> str:
    return locations.path_of(paths.remote) if paths.remote else ""


def _lock_path(paths: RunPaths) -> Path:
    """Of a folder elsewhere, beside the one here that stands for it, which comes and goes."""
    folder = paths.root.with_name(f"{paths.root.name}{paths.owner.name}") if paths.remote else paths.owner
    return folder / "lock"


def _read(shelf: Disk | Elsewhere, number: int) -> Owner | None:
    return _parse(shelf.read(record_name(number)) or b"")


def _parse(data: bytes) -> Owner | None:
    """None when there is nothing, or not all of it yet."""
    try:
        return Owner(**json.loads(data))
    except (ValueError, TypeError):
        return None


def _space() -> str:
    """Names the set of process ids that this process counts in; "" where that is not to be had."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _boot() -> str:
    """Names this machine's kernel since it started; its host name where that is not to be had."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
