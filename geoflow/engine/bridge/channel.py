"""Messages between an actor and its child process, over a socket that nothing else writes to.

A message is any plain value with arrays in it. Arrays go through shared memory (`shared_arrays`); the rest is pickled,
without the names of numpy's or pathlib's private modules, which differ between versions.
"""

from __future__ import annotations

import io
import pickle
import socket
import struct
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from geoflow.engine.bridge.shared_arrays import Borrower, Lender

_HEADER = struct.Struct("<Q?")  # bytes that follow, and whether a descriptor comes along
_PROTOCOL = 5


class Channel:
    """One end of a connection: it lends the arrays that it sends, and borrows those that it receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lender, self._borrower = Lender(), Borrower()

    def send(self, message: Any) -> None:
        """Send a message. If it cannot be put into a message, it raises before anything is sent.

        Raises StageError for arrays of objects, MemoryError, pickle's errors; OSError if the other end is gone.
        """
        text, arrays = _written(message)
        loan, descriptor = self._lender.lend(arrays)
        del message, arrays  # arrays that were only passed on are not used any more
        envelope = (text, loan, self._borrower.returned(), self._lender.gone())
        body = pickle.dumps(envelope, _PROTOCOL)
        header = _HEADER.pack(len(body), descriptor is not None)
        if descriptor is None:
            self._socket.sendall(header)
        else:
            socket.send_fds(self._socket, [header], [descriptor])
        self._socket.sendall(body)

    def receive(self) -> Any:
        """Wait for the next message, and return it. Raises EOFError or OSError if the other end is gone."""
        header, descriptors, _, _ = socket.recv_fds(self._socket, _HEADER.size, 1)
        length, _ = _HEADER.unpack(header + self._exactly(_HEADER.size - len(header)))
        text, loan, returned, gone = pickle.loads(self._exactly(length))
        self._borrower.forget(gone)
        self._lender.take_back(returned)
        arrays = [] if loan is None else self._borrower.open(loan, descriptors[0] if loan.is_new else None)
        return _Reader(io.BytesIO(text), arrays).load()

    def close(self) -> None:
        self._socket.close()
        self._lender.close()

    def _exactly(self, length: int) -> bytearray:
        found = bytearray(length)
        view = memoryview(found)
        while view:
            count = self._socket.recv_into(view)
            if not count:
                raise EOFError("the other process is gone")
            view = view[count:]
        return found


def _written(message: Any) -> tuple[bytes, list[np.ndarray]]:
    file = io.BytesIO()
    writer = _Writer(file)
    writer.dump(message)
    return file.getvalue(), list(writer.arrays)


class _Writer(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, _PROTOCOL)
        self.arrays: list[np.ndarray] = []
        self._known: dict[int, int] = {}  # id -> position: an array that comes twice is sent once

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            if id(value) not in self._known:
                self._known[id(value)] = len(self.arrays)
                self.arrays.append(value)
            return ("array", self._known[id(value)])
        if isinstance(value, np.generic):
            return ("number", value.dtype.str, value.tobytes())
        return ("path", str(value)) if isinstance(value, PurePath) else None


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, arrays: list[np.ndarray]) -> None:
        super().__init__(file)
        self._arrays = arrays

    def persistent_load(self, pid: Any) -> Any:
        kind, *rest = pid
        if kind == "array":
            return self._arrays[rest[0]]
        return np.frombuffer(rest[1], rest[0])[0] if kind == "number" else Path(rest[0])
