"""Arrays sent between environments whose numpy differs in its major version.

A pickled numpy array contains the names of numpy's private modules (`numpy._core` since 2.0, `numpy.core` before). So
an array of one version may not open in the other. `Packed` pickles as three plain values instead: the dtype's
array-protocol string, the shape, and the bytes as an out-of-band buffer (PEP 574). Ray keeps the buffer in its object
store and gives it to every reader without a copy.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from geoflow.errors import StageError


class Packed:
    """An array that can be sent between numpy versions. Make one with `pack`, open it with `unpack`."""

    __slots__ = ("buffer", "dtype", "shape")

    def __init__(self, dtype: str, shape: tuple[int, ...], buffer: Any) -> None:
        self.dtype = dtype  # array-protocol string, such as "<f4"
        self.shape = shape
        self.buffer = buffer  # anything with the buffer protocol; None for arrays without elements

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if self.buffer is None:
            data: Any = None
        elif protocol >= 5:
            data = pickle.PickleBuffer(self.buffer)
        else:
            data = bytes(self.buffer)
        return Packed, (self.dtype, self.shape, data)


def pack(array: np.ndarray) -> Packed:
    """Wrap an array of plain numbers or booleans to send it; contiguous arrays are not copied.

    Raises StageError for object and structured dtypes, which have no meaning outside their own interpreter.

    >>> unpack(pickle.loads(pickle.dumps(pack(np.eye(2, dtype=np.float16)), protocol=5)))[0]
    array([1., 0.], dtype=float16)
    """
    array = np.asarray(array)
    if array.dtype.kind not in "biufc":
        raise StageError(f"only arrays of numbers or booleans can be sent between stages, found dtype {array.dtype}")
    if array.size == 0:
        return Packed(array.dtype.str, array.shape, None)
    return Packed(array.dtype.str, array.shape, np.require(array, requirements="C").reshape(-1).view(np.uint8))


def pack_state(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of an ordered stage with its arrays packed and its plain values unchanged."""
    return {key: pack(value) if hasattr(value, "dtype") else value for key, value in state.items()}


def unpack_state(state: dict[str, Any]) -> dict[str, Any]:
    return {key: unpack(value) for key, value in state.items()}


def unpack(packed: Any) -> Any:
    """Return the array inside, as a read-only view of its bytes. A value that is not `Packed` is returned unchanged."""
    if not isinstance(packed, Packed):
        return packed
    if packed.buffer is None:
        array = np.empty(packed.shape, packed.dtype)
    else:
        array = np.frombuffer(packed.buffer, packed.dtype).reshape(packed.shape)
    array.flags.writeable = False
    return array
