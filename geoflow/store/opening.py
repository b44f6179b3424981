"""Opening of HDF5 files in place: on a disk with h5py alone, elsewhere by fetching only the blocks that are needed."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import h5py

from geoflow.files import locations

BLOCK = 256 << 10  # bytes per request: HDF5's own tables are read in pieces of some KiB, a frame of depth in one
_BLOCKS = 256  # kept in memory: 64 MiB
_AHEAD = 8  # blocks fetched ahead if a file is read from front to back


class Uri(str):
    """The address of a store, with `name` and `stem` as a Path has them."""

    @property
    def name(self) -> str:
        return locations.basename(self)

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem


class BlockFile(io.RawIOBase):
    """A file that lies elsewhere, read in whole blocks; the blocks used last are kept. Not safe for threads."""

    def __init__(self, uri: str) -> None:
        """Look the file up. Raises FileNotFoundError, StoreError."""
        found = locations.stat(uri)
        if found is None:
            raise FileNotFoundError(uri)
        self._uri, self.size, self._position = uri, found.size, 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self.fetched = self.requests = 0  # bytes, and the number of requests for them

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        stop = min(self._position + len(view), self.size)
        done = 0
        for piece in self._pieces(self._position, stop):
            view[done : done + len(piece)] = piece
            done += len(piece)
        self._position += done
        return done

    def _pieces(self, start: int, stop: int) -> Iterator[memoryview]:
        if stop <= start:
            return
        numbers = range(start // BLOCK, (stop - 1) // BLOCK + 1)
        held = {number: self._blocks[number] for number in numbers if number in self._blocks}
        for first, last in _runs([number for number in numbers if number not in held]):
            if first - 1 in self._blocks and first - 2 in self._blocks:  # the file is read from front to back
                last = min(last + _AHEAD, (self.size - 1) // BLOCK)
            data = self._fetch(first * BLOCK, min((last + 1) * BLOCK, self.size))
            fetched = {k: data[(k - first) * BLOCK : (k - first + 1) * BLOCK] for k in range(first, last + 1)}
            self._blocks |= fetched
            held |= fetched
        for number in numbers:
            self._blocks[number] = held[number]
            self._blocks.move_to_end(number)
            begin = number * BLOCK
            yield memoryview(held[number])[max(start - begin, 0) : stop - begin]
        while len(self._blocks) > _BLOCKS:
            self._blocks.popitem(last=False)

    def _fetch(self, start: int, stop: int) -> bytes:
        # h5py holds its lock while HDF5 reads. A file system that reads in a thread of its own must not collect
        # garbage there meanwhile: freeing an h5py object waits for that lock, for ever.
        collecting = gc.isenabled()
        gc.disable()
        try:
            data = locations.read(self._uri, start, stop)
        finally:
            if collecting:
                gc.enable()
        if len(data) != stop - start:
            raise OSError(
                f"{self._uri} gave {len(data)} of {stop - start} bytes: it was changed meanwhile; open it again"
            )
        self.fetched += len(data)
        self.requests += 1
        return data


def open_h5(path: str | os.PathLike[str]) -> h5py.File:
    """Open a file for reading. Raises FileNotFoundError, OSError if it is no whole HDF5 file, StoreError."""
    if not locations.is_remote(path):
        return h5py.File(locations.local(path), "r")
    return h5py.File(BlockFile(os.fspath(path)), "r")


@contextlib.contextmanager
def copied(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the file's path, or the path of a temporary copy: quicker if the whole file is to be read.

    Raises FileNotFoundError, StoreError.
    """
    if not locations.is_remote(path):
        yield locations.local(path)
        return
    with tempfile.TemporaryDirectory(prefix="geoflow-store-") as folder:
        copy = Path(folder) / locations.basename(os.fspath(path))
        locations.fetch(os.fspath(path), copy)
        yield copy


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Give rising numbers as ranges: the first and last number of each.

    >>> list(_runs([1, 2, 3, 7, 8]))
    [(1, 3), (7, 8)]
    """
    first = 0
    for k in range(1, len(numbers) + 1):
        if k == len(numbers) or numbers[k] != numbers[k - 1] + 1:
            yield numbers[first], numbers[k - 1]
            first = k
