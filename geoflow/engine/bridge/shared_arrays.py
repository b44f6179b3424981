"""Arrays that one process lends another in shared memory. The memory has no name, so nothing can be left behind.

A block is an anonymous file in memory (memfd), whose descriptor travels over a socket. The system frees it when the
last process that has it is gone, however it ends. The lender copies arrays into a block, the only copy there is; the
borrower sees them there, read-only. A block is used again when nobody has arrays in it any more: whoever keeps an array
from one call to the next still has what was in it.
"""

from __future__ import annotations

import itertools
import mmap
import os
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from geoflow.errors import StageError

_ALIGN = 64
_MOST_SPARE = 2  # blocks that are kept for the next arrays
_TOO_LARGE = 4  # times as large as wanted: such a block is left to larger arrays


class Placed(NamedTuple):
    """Where an array lies in its block."""

    dtype: str  # array-protocol string, such as "<f4"
    shape: tuple[int, ...]
    offset: int


class Loan(NamedTuple):
    """Arrays in one block, as the borrower is shown them."""

    block: int
    size: int
    is_new: bool  # its descriptor comes with the message
    arrays: tuple[Placed, ...]


@dataclass(eq=False)
class _Block:
    number: int
    descriptor: int
    memory: mmap.mmap
    lent: bool = False

    def close(self) -> None:
        self.memory.close()
        os.close(self.descriptor)


class Lender:
    """Owns blocks and lends arrays in them."""

    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}
        self._numbers = itertools.count()
        self._gone: list[int] = []

    def lend(self, arrays: Sequence[np.ndarray]) -> tuple[Loan | None, int | None]:
        """Copy arrays into one block. Return the loan and, for a new block, its descriptor; None without any bytes.

        Raises StageError for dtypes that have no meaning outside their interpreter; MemoryError.
        """
        places, end = [], 0
        for array in arrays:
            if array.dtype.kind not in "biufc":
                raise StageError(f"only arrays of numbers or booleans can leave a process, found dtype {array.dtype}")
            places.append(Placed(array.dtype.str, array.shape, end))
            end += -(-array.nbytes // _ALIGN) * _ALIGN
        if not places:
            return None, None
        block, is_new = self._block(max(end, mmap.PAGESIZE))
        for array, place in zip(arrays, places):
            if array.size:
                np.copyto(np.ndarray(place.shape, place.dtype, block.memory, place.offset), array)
        block.lent = True
        loan = Loan(block.number, len(block.memory), is_new, tuple(places))
        return loan, block.descriptor if is_new else None

    def take_back(self, returned: Iterable[int]) -> None:
        """Note that the borrower has no arrays in these blocks any more."""
        for number in returned:
            if number in self._blocks:
                self._blocks[number].lent = False

    def gone(self) -> tuple[int, ...]:
        """Return the numbers of blocks that were given up since the last call: the borrower need not keep them."""
        gone, self._gone = tuple(self._gone), []
        return gone

    def close(self) -> None:
        for block in self._blocks.values():
            block.close()
        self._blocks.clear()

    def _block(self, size: int) -> tuple[_Block, bool]:
        """Return a block of at least `size` bytes, and whether it is new; other spare ones are given up."""
        spare = [block for block in self._blocks.values() if not block.lent]
        fitting = [block for block in spare if size <= len(block.memory) <= _TOO_LARGE * size]
        found = min(fitting, key=lambda block: len(block.memory), default=None)
        kept = sorted(fitting, key=lambda block: len(block.memory))[:_MOST_SPARE]
        for block in spare:
            if block not in kept:
                self._give_up(block)
        if found is not None:
            return found, False
        block = _new_block(next(self._numbers), size)
        self._blocks[block.number] = block
        return block, True

    def _give_up(self, block: _Block) -> None:
        del self._blocks[block.number]
        self._gone.append(block.number)
        block.close()


def _new_block(number: int, size: int) -> _Block:
    descriptor = os.memfd_create("geoflow-bridge", os.MFD_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, size)  # now, not by a signal at the first write
        return _Block(number, descriptor, mmap.mmap(descriptor, size))
    except OSError as error:
        os.close(descriptor)
        raise MemoryError(f"no {size / 2**20:,.0f} MiB of shared memory for a stage's arrays: {error}") from error


class Borrower:
    """Sees the arrays that another process lends."""

    def __init__(self) -> None:
        self._blocks: dict[int, mmap.mmap] = {}
        self._roots: dict[int, weakref.ref[np.ndarray]] = {}  # of blocks that have not been returned

    def open(self, loan: Loan, descriptor: int | None) -> list[np.ndarray]:
        """Return the arrays of a loan, read-only. The descriptor of a new block is closed."""
        if descriptor is not None:
            try:
                self._blocks[loan.block] = mmap.mmap(descriptor, loan.size, prot=mmap.PROT_READ)
            finally:
                os.close(descriptor)
        # Each array is a view of the root, which so lives as long as any of them.
        root = np.frombuffer(self._blocks[loan.block], np.uint8)
        self._roots[loan.block] = weakref.ref(root)
        return [_view(root, place) for place in loan.arrays]

    def returned(self) -> tuple[int, ...]:
        """Return the numbers of blocks in which no array is used any more, each once."""
        done = tuple(number for number, root in self._roots.items() if root() is None)
        for number in done:
            del self._roots[number]
        return done

    def forget(self, gone: Iterable[int]) -> None:
        """Let go of blocks that the lender has given up."""
        for number in gone:
            self._blocks.pop(number, None)


def _view(root: np.ndarray, place: Placed) -> np.ndarray:
    size = np.dtype(place.dtype).itemsize * int(np.prod(place.shape, dtype=np.int64))
    found: np.ndarray = root[place.offset : place.offset + size].view(place.dtype).reshape(place.shape)
    return found
