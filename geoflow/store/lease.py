"""Numbered records in a folder, on a disk or elsewhere: who holds it is who wrote the highest one.

A record is made only where there is none of its number yet, which disks and object stores decide for one of those who
try at the same time. Its holder touches it every few seconds. Whoever finds the highest one untouched for long makes
the next: of two who find that at the same time only one can, and the old holder, if it was only asleep, sees it and
lets go.
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
    return f"{number:06d}.json"


class Shelf(Protocol):
    """Where the records lie."""

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes | None: ...
    def create(self, name: str, data: bytes) -> bool:
        """Whether it was made; False when there is one already."""

    def touch(self, name: str, data: bytes) -> None: ...
    def remove(self, name: str) -> None: ...
    def modified(self, name: str) -> float | None:
        """When it was last touched, by the clock of whoever keeps it; None when it is gone or nobody knows."""


class Disk:
    """A folder of a disk, which other machines may share."""

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
            with contextlib.suppress(FileNotFoundError):  # whoever leaves takes the folder away
                draft.write_bytes(data)
                try:
                    return self._make(draft, self._folder / name, data)
                finally:
                    draft.unlink(missing_ok=True)
        raise FileNotFoundError(f"{self._folder} comes and goes")

    @staticmethod
    def _make(draft: Path, path: Path, data: bytes) -> bool:
        try:
            os.link(draft, path)  # there is never half a record
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise
        except OSError:  # a file system without links
            try:
                with open(path, "xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
        return True

    def touch(self, name: str, data: bytes) -> None:
        try:
            os.utime(self._folder / name)
        except FileNotFoundError:  # somebody tidied up too much
            self.create(name, data)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def modified(self, name: str) -> float | None:
        try:
            return (self._folder / name).stat().st_mtime
        except FileNotFoundError:
            return None


class Elsewhere:
    """A folder that is named by a URI."""

    settle_s = 1.0  # two may believe to have made a record where the store does not decide it; one has written last

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
    """Of the records that are there, rising."""
    return sorted(int(match[1]) for name in shelf.names() if (match := _RECORD.fullmatch(name)))


def age_s(shelf: Shelf, name: str) -> float | None:
    """Seconds since a record was touched, by the one clock that counts: that of whoever keeps it. None: not known."""
    with _trial(shelf) as trial:
        now, then = shelf.modified(trial), shelf.modified(name)
    return None if now is None or then is None else max(0.0, now - then)


@contextlib.contextmanager
def _trial(shelf: Shelf) -> Iterator[str]:
    """A file that is made now."""
    name = f"clock-{uuid.uuid4().hex[:8]}"
    shelf.create(name, b"now")
    try:
        yield name
    finally:
        with contextlib.suppress(StoreError, OSError):
            shelf.remove(name)
