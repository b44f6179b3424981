"""Maps of keyframes in a temporary file, which has no name and so is gone with the process, however that ends."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import numpy as np

_MAPS = 64  # rewritten at once


class MapArchive:
    """Maps (h, w) float32 by number, in the order in which they come. Only those that are asked for are in memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        self._size: tuple[int, int] = (0, 0)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, maps: np.ndarray) -> None:
        """Take maps (N, h, w) in."""
        self._size = (maps.shape[1], maps.shape[2])
        self._write(self._count, maps)
        self._count += len(maps)

    def __getitem__(self, numbers: Sequence[int]) -> np.ndarray:
        """Return the maps (N, h, w) of these numbers."""
        found = np.empty((len(numbers), *self._size), np.float32)
        for row, number in zip(found, numbers):
            self._file.seek(int(number) * row.nbytes)
            row[:] = np.frombuffer(self._file.read(row.nbytes), np.float32).reshape(self._size)
        return found

    def scale(self, factors: np.ndarray) -> None:
        """Multiply every map by its factor (N,)."""
        for first in range(0, self._count, _MAPS):
            numbers = range(first, min(first + _MAPS, self._count))
            self._write(first, self[numbers] * factors[first : numbers.stop, None, None].astype(np.float32))

    def whole(self) -> np.ndarray:
        """Return all maps (N, h, w), which are read from the file where they are looked at.

        What is written to the array stays in it, and does not reach the file.
        """
        if not self._count:
            return np.zeros((0, *self._size), np.float32)
        self._file.flush()
        shape = (self._count, *self._size)
        return np.asarray(np.memmap(self._file, np.float32, "c", shape=shape))

    def _write(self, first: int, maps: np.ndarray) -> None:
        held = np.ascontiguousarray(maps, np.float32)
        self._file.seek(4 * first * self._size[0] * self._size[1])
        self._file.write(held.tobytes())
