from __future__ import annotations

import pickle

import numpy as np
import pytest

from geoflow.engine.actor.wire import pack, unpack
from geoflow.errors import StageError


def _travel(array: np.ndarray, protocol: int = 5) -> np.ndarray:
    """Through pickle the way Ray does it: metadata in-band, bytes out-of-band."""
    buffers: list[pickle.PickleBuffer] = []
    keep = buffers.append if protocol >= 5 else None
    data = pickle.dumps(pack(array), protocol=protocol, buffer_callback=keep)
    return unpack(pickle.loads(data, buffers=buffers))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "float32", "float64", "int64", ">f4"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 4), (0,), (4, 5, 3)])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_any_array_comes_back_equal(dtype: str, shape: tuple[int, ...], protocol: int) -> None:
    array = (np.random.default_rng(0).random(shape) * 7).astype(dtype)
    back = _travel(array, protocol)
    assert back.dtype == array.dtype and back.shape == array.shape
    np.testing.assert_array_equal(back, array)


def test_nan_and_infinity_survive() -> None:
    array = np.array([np.nan, np.inf, -np.inf, -0.0], np.float16)
    assert _travel(array).tobytes() == array.tobytes()


@pytest.mark.parametrize("view", [np.s_[:, ::2], np.s_[::-1], np.s_[..., 1], np.s_[1:3, 2:4]])
def test_non_contiguous_views(view: tuple) -> None:
    array = np.arange(4 * 6 * 3).reshape(4, 6, 3)
    np.testing.assert_array_equal(_travel(array[view]), array[view])
    np.testing.assert_array_equal(_travel(np.asfortranarray(array)), array)


def test_unpacked_arrays_are_read_only_views_of_the_bytes() -> None:
    array = np.ones((64, 64), np.float32)
    here = unpack(pack(array))
    assert np.shares_memory(here, array)
    assert array.flags.writeable, "the sender's own array must stay as it was"
    for got in (here, _travel(array), _travel(np.empty((0, 3)))):
        assert not got.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        here[0] = 2


def test_the_bytes_travel_out_of_band_and_the_pickle_names_no_numpy_module() -> None:
    buffers: list[pickle.PickleBuffer] = []
    array = np.zeros((100, 1000), np.float16)
    data = pickle.dumps(pack(array), protocol=5, buffer_callback=buffers.append)
    assert b"numpy" not in data and len(data) < 200
    assert [buffer.raw().nbytes for buffer in buffers] == [array.nbytes]
    assert np.shares_memory(np.frombuffer(buffers[0], np.float16), array.ravel())


def test_what_is_not_packed_passes_through() -> None:
    array = np.eye(2)
    assert unpack(array) is array and unpack("text") == "text" and unpack(None) is None


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["text"]), np.zeros(2, "f4,i4")])
def test_other_dtypes_are_refused(array: np.ndarray) -> None:
    with pytest.raises(StageError, match="numbers or booleans"):
        pack(array)
