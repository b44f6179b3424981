"""A lease on a folder, on a disk or elsewhere: numbered records, of which the highest one names the holder.

A record can be made only if there is none of its number yet. Disks and object stores see to it that only one of several
processes succeeds. The holder touches its record every few seconds. A process that finds the highest record untouched
for long makes the next one. If two processes do so at the same time, one succeeds. An old holder that was only asleep
sees the new record and lets go.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from geoflow.errors import StoreError
from geoflow.files import locations

_TRIES = 20
_RECORD = re.compile(r"(\d{6})\.json")


def record_name(number: int) -> str:
    """Return the file name of a record."""
    return f"{number:06d}.json"


class Shelf(Protocol):
    """The place where the records lie."""

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes | None: ...
    def create(self, name: str, data: bytes) -> bool:
        """Make a file and return True; return False if there is one of this name already."""

    def touch(self, name: str, data: bytes) -> None: ...
    def remove(self, name: str) -> None: ...
    def modified(self, name: str) -> float | None:
        """Return when a file was last touched, by the clock of its storage; None if it is gone or the time is not
        known."""


class Disk:
    """A folder on a disk, which several machines may share."""

    settle_s = 0.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        try:
            return os.listdir(self._folder)
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def create(self, name: str, data: bytes) -> bool:
        for _ in range(_TRIES):
            self._folder.mkdir(parents=True, exist_ok=True)
            draft = self._folder / f"{name}.{uuid.uuid4().hex[:8]}"
            with contextlib.suppress(FileNotFoundError):  # a holder that leaves deletes the folder
                draft.write_bytes(data)
                try:
                    return self._make(draft, self._folder / name, data)
                finally:
                    draft.unlink(missing_ok=True)
        raise FileNotFoundError(f"{self._folder} is deleted by another process again and again")

    @staticmethod
    def _make(draft: Path, path: Path, data: bytes) -> bool:
        try:
            os.link(draft, path)  # there is never half a record
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise
        except OSError:  # a file system without hard links
            try:
                with open(path, "xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
        return True

    def touch(self, name: str, data: bytes) -> None:
        try:
            os.utime(self._folder / name)
        except FileNotFoundError:  # the record was deleted by mistake
            self.create(name, data)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def modified(self, name: str) -> float | None:
        try:
            return (self._folder / name).stat().st_mtime
        except FileNotFoundError:
            return None


class Elsewhere:
    """A folder in an object store or on a server, named by a URI."""

    settle_s = 1.0  # where the store lets two processes make one record, the one that wrote last has it after this time

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def names(self) -> list[str]:
        return [locations.basename(uri) for uri in locations.listing(self._uri)]

    def read(self, name: str) -> bytes | None:
        return locations.content(locations.join(self._uri, name))

    def create(self, name: str, data: bytes) -> bool:
        return locations.create(locations.join(self._uri, name), data)

    def touch(self, name: str, data: bytes) -> None:
        locations.write(locations.join(self._uri, name), data)

    def remove(self, name: str) -> None:
        locations.remove(locations.join(self._uri, name))

    def modified(self, name: str) -> float | None:
        found = locations.stat(locations.join(self._uri, name))
        return found.modified or None if found else None


def numbers(shelf: Shelf) -> list[int]:
    """Return the numbers of the records that exist, in rising order."""
    return sorted(int(match[1]) for name in shelf.names() if (match := _RECORD.fullmatch(name)))


def age_s(shelf: Shelf, name: str) -> float | None:
    """Return the seconds since a record was touched, by the clock of its storage; None if that is not known."""
    with _trial(shelf) as trial:
        now, then = shelf.modified(trial), shelf.modified(name)
    return None if now is None or then is None else max(0.0, now - then)


@contextlib.contextmanager
def _trial(shelf: Shelf) -> Iterator[str]:
    """Make a file, to read the storage's clock from its time; delete it afterwards."""
    name = f"clock-{uuid.uuid4().hex[:8]}"
    shelf.create(name, b"now")
    try:
        yield name
    finally:
        with contextlib.suppress(StoreError, OSError):
            shelf.remove(name)
