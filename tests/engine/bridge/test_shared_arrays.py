"""Arrays between two ends of a channel: the same values, at most one copy, and none that changes under who keeps it."""

from __future__ import annotations

import os
import socket
from pathlib import PurePosixPath

import numpy as np
import pytest

from geoflow.engine.bridge.channel import Channel
from geoflow.engine.bridge.shared_arrays import Borrower, Lender
from geoflow.errors import StageError
from geoflow.segments import VideoInfo


def channels() -> tuple[Channel, Channel]:
    one, other = socket.socketpair()
    return Channel(one), Channel(other)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float16).reshape(2, 3, 4),
        np.arange(24).reshape(4, 6)[::2, ::-1],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(3 + 1j),
        np.array([True, False]),
        np.zeros((0, 5), np.uint8),
        np.arange(4, dtype=">i4"),
        np.broadcast_to(np.float32(2), (3, 1000)),
    ],
)
def test_arrays_arrive_as_they_were_sent_and_read_only(array: np.ndarray) -> None:
    one, other = channels()
    one.send({"a": array})
    found = other.receive()["a"]
    assert found.dtype == array.dtype and found.shape == array.shape and not found.flags.writeable
    np.testing.assert_array_equal(found, array)


def test_plain_values_numbers_of_numpy_and_paths_arrive_too() -> None:
    one, other = channels()
    video = VideoInfo("v", "v.mp4", "", 2, 30.0, 4, 4, 4, 4)
    message = ("x", {"video": video, "n": np.float32(1.5), "path": PurePosixPath("/a/b"), "none": None})
    one.send(message)
    kind, found = other.receive()
    assert kind == "x" and found["video"] == video and str(found["path"]) == "/a/b"
    assert type(found["n"]) is np.float32 and found["n"] == 1.5


def test_an_array_that_comes_twice_is_sent_once_and_not_over_the_socket() -> None:
    one, other = channels()
    array = np.arange(1 << 18, dtype=np.float64)
    one.send([array, array])
    assert one._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < array.nbytes, "else a send would not block"
    first, second = other.receive()
    assert first is second


def test_a_block_is_used_again_only_when_nobody_has_its_arrays() -> None:
    lender, borrower = Lender(), Borrower()

    def lend(value: int) -> tuple[int, bool, np.ndarray]:
        loan, descriptor = lender.lend([np.full(5000, value)])
        assert loan is not None
        (array,) = borrower.open(loan, None if descriptor is None else os.dup(descriptor))
        return loan.block, loan.is_new, array

    first, is_new, kept = lend(1)
    assert is_new
    part = kept[10:20].reshape(2, 5)[1:]
    del kept
    lender.take_back(borrower.returned())
    second, is_new, other = lend(2)
    assert is_new and second != first and (part == 1).all()
    del other, part
    lender.take_back(borrower.returned())
    third, is_new, _ = lend(3)
    assert third in (first, second) and not is_new


def test_memory_of_large_arrays_is_given_back_when_small_ones_follow() -> None:
    lender, borrower = Lender(), Borrower()

    def lend(size: int) -> None:
        loan, descriptor = lender.lend([np.zeros(size, np.uint8)])
        assert loan is not None
        borrower.open(loan, None if descriptor is None else os.dup(descriptor))
        lender.take_back(borrower.returned())
        borrower.forget(lender.gone())

    lend(50_000_000)
    lend(10_000)
    assert [len(block.memory) for block in lender._blocks.values()] == [len(m) for m in borrower._blocks.values()]
    assert sum(len(block.memory) for block in lender._blocks.values()) < 100_000


def test_arrays_of_objects_are_refused_before_anything_is_sent() -> None:
    one, other = channels()
    with pytest.raises(StageError, match="only arrays of numbers or booleans"):
        one.send([np.array([None])])
    one.send("next")
    assert other.receive() == "next"


def test_the_end_of_the_other_side_is_seen() -> None:
    one, other = channels()
    other.close()
    with pytest.raises((EOFError, ConnectionError)):
        one.receive()


def test_no_memory_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(MemoryError, match="of shared memory for a stage's arrays"):
        Lender().lend([np.zeros(10)])
