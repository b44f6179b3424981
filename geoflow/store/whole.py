"""Files that get their final name only when they are complete, also if the disk fills up while they are written."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoflow.errors import StoreError
from geoflow.store.paths import draft as new_draft
from geoflow.store.paths import drafts, temporary

if TYPE_CHECKING:
    import h5py

_ABANDONED_S = 3600.0  # writing a frame, or a block, takes seconds at most
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class GuardedFile(io.RawIOBase):
    """A file for HDF5 that never reports a write error to HDF5; `error` keeps the first error.

    HDF5 cannot recover from a failed write: closing such a file crashes the process (seen with HDF5 2.0 and a full
    disk). So the data of a failed write is kept in memory, and the write is reported as done. The caller checks `error`
    after each dataset and stops.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 - closed by close()
        self._position = 0
        self._unwritten: list[tuple[int, bytes]] = []
        self.error: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += max([self._file.seek(0, os.SEEK_END), *(at + len(data) for at, data in self._unwritten)])
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self.error is None:
            try:
                self._write_through(view)
            except OSError as error:
                self.error = error
        if self.error is not None:
            self._unwritten.append((self._position, bytes(view)))
        self._position += len(view)
        return len(view)

    def _write_through(self, view: memoryview) -> None:
        self._file.seek(self._position)
        while len(view):
            view = view[self._file.write(view) :]

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        self._file.seek(self._position)
        view[:] = self._file.read(len(view)).ljust(len(view), b"\0")
        for at, data in self._unwritten:
            first, last = max(at, self._position), min(at + len(data), self._position + len(view))
            if first < last:
                view[first - self._position : last - self._position] = data[first - at : last - at]
        self._position += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        size = self._position if size is None else size
        if self.error is None:
            try:
                self._file.truncate(size)
            except OSError as error:
                self.error = error
        return size

    def sync(self) -> None:
        """Write everything to the disk. Raises OSError, also the error of an earlier write."""
        if self.error is not None:
            raise self.error
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        super().close()


class WholeH5:
    """An HDF5 file being written under its temporary name; `check` raises an error that the disk reported meanwhile."""

    def __init__(self, file: h5py.File, guard: GuardedFile) -> None:
        self.file = file
        self._guard = guard

    def check(self) -> None:
        if self._guard.error is not None:
            raise self._guard.error


@contextlib.contextmanager
def whole_h5(path: Path) -> Iterator[WholeH5]:
    """Write an HDF5 file so that `path` appears complete or not at all.

    Raises StoreError that names the file, the free space and the remedy if the disk cannot be written.
    """
    import h5py

    with whole_draft(path) as draft:
        guard = GuardedFile(draft)
        try:
            with h5py.File(guard, "w") as file:
                whole = WholeH5(file, guard)
                yield whole
                whole.check()
            guard.sync()
        finally:
            guard.close()


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file so that `path` appears complete or not at all. Raises StoreError."""
    with whole_draft(path) as draft, open(draft, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_whole_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines as they are made, so that `path` appears complete or not at all. Raises StoreError."""
    with whole_draft(path) as draft, open(draft, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def whole_draft(path: Path) -> Iterator[Path]:
    """Yield the temporary name of a file, so that `path` appears complete or not at all. Raises StoreError."""
    draft = new_draft(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in drafts(path):
            if _is_abandoned(old):
                _remove(old)
        yield draft
        os.replace(draft, path)
        _sync_folder(path.parent)
    except OSError as error:
        _remove(draft)
        raise store_error(path, error) from error
    except BaseException:
        _remove(draft)
        raise


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield the temporary name of a folder, so that `path` appears complete or not at all. Leftovers of an earlier try
    are deleted first.

    Raises StoreError if `path` exists and is not empty, and if the disk cannot be written.
    """
    draft = temporary(path)
    try:
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise StoreError(f"{path} exists already; remove it or choose another output (-o)")
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir(parents=True)
        yield draft
        if path.exists():
            path.rmdir()
        os.replace(draft, path)
        _sync_folder(path.parent)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise store_error(path, error) from error
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _is_abandoned(draft: Path) -> bool:
    """Return whether the process that wrote the draft was killed: the draft was not touched for long."""
    with contextlib.suppress(OSError):
        return time.time() - draft.stat().st_mtime > _ABANDONED_S
    return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _sync_folder(folder: Path) -> None:
    # The rename itself must survive a power cut. Some network file systems cannot sync a folder.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def store_error(path: Path, error: OSError) -> StoreError:
    """Return an error that names the file that could not be written, the space left, and what to do."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        remedy = "free some space or choose another output folder (-o), then run again: finished segments are kept"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "make the folder writable or choose another output folder (-o)"
    elif error.errno in (errno.ENOTDIR, errno.EEXIST):
        remedy = "a file is where a folder should be: choose another output folder (-o)"
    else:
        remedy = "check the disk, then run again: finished segments are kept"
    return StoreError(f"cannot write {path}: {reason}{_free_space(path)}; {remedy}")


def _free_space(path: Path) -> str:
    for folder in path.parents:
        with contextlib.suppress(OSError):
            return f" ({shutil.disk_usage(folder).free / 2**20:,.0f} MiB free)"
    return ""
