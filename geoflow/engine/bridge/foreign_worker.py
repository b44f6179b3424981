"""The child process's side: it makes a stage, and answers the actor's calls one after another.

It runs in any Python that has numpy. Messages have a socket of their own; whatever the stage prints goes to the pipes
that are its stdout and stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.backends import loading, weights
from geoflow.engine.bridge.channel import Channel
from geoflow.engine.bridge.remote_errors import describe_error, revived
from geoflow.engine.gpu.meter import Meter, find_meter
from geoflow.stage import Fields, Stage

# Kinds of messages. From the child: what it is, its answers, and requests for frames; from the actor: calls and frames.
HELLO, DONE, FAILED, READ, PIECE, END, REFUSED = "hello", "done", "failed", "read", "piece", "end", "refused"
_READERS = ("survey", "process_object")  # whose last argument reads frames


def serve(descriptor: int) -> None:
    """Answer calls until the actor closes the connection."""
    os.set_inheritable(descriptor, False)  # programs that the stage starts must not keep it open
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the actor decides when this process ends
    channel = Channel(socket.socket(fileno=descriptor))
    about = {"pid": os.getpid(), "python": platform.python_version(), "numpy": np.__version__}
    channel.send((HELLO, {**about, "executable": sys.executable}))
    visitor = _Visitor(channel)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            _serve_one(channel, visitor)


def _serve_one(channel: Channel, visitor: _Visitor) -> None:
    """Answer one call. A call that cannot be read, or whose answer cannot be sent, is a failed one."""
    try:
        channel.send(visitor.answer(*channel.receive()))
    except (EOFError, OSError):
        raise
    except Exception as error:
        channel.send((FAILED, describe_error(error)))


class _Visitor:
    """The stage in this process. Each public method is a call of the actor's; `answer` also finds the stage's own."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stage: Any = None
        self._meter: Meter | None = None
        self._reads = 0

    def answer(self, name: str, arguments: tuple[Any, ...], more: dict[str, Any]) -> tuple[str, Any]:
        try:
            own: Callable[..., Any] | None = getattr(self, f"on_{name}", None)
            return DONE, own(*arguments) if own is not None else self._of_stage(name, arguments, more)
        except Exception as error:
            return FAILED, describe_error(error)
        finally:
            _flush()

    def on_setup(
        self, backend: str, params: dict[str, Any], threads: int, located: dict[tuple[str, str, str], Path]
    ) -> None:
        weights.know(located)
        self._stage = self._make(backend, params, threads)
        self._stage.setup()

    def on_warm(self, backend: str, params: dict[str, Any], threads: int) -> None:
        self._make(backend, params, threads).warm()

    def on_meter(self, name: str, *arguments: Any) -> Any:
        self._meter = self._meter or find_meter()
        return getattr(self._meter, name)(*arguments)

    def _make(self, backend: str, params: dict[str, Any], threads: int) -> Stage:
        stage_class: type[Stage] = loading.load(backend)
        stage = stage_class(stage_class.Params(**params))
        stage.threads = threads
        return stage

    def _of_stage(self, name: str, arguments: tuple[Any, ...], more: dict[str, Any]) -> Any:
        if name in _READERS:
            arguments = (*arguments, self._read)
        return getattr(self._stage, name)(*arguments, **more)

    def _read(self) -> Iterator[Fields]:
        """Yield the actor's frames; each call reads them anew, as the `read` of a stage in the actor does."""
        self._reads += 1
        return self._pieces(self._reads)

    def _pieces(self, number: int) -> Iterator[Fields]:
        while True:
            self._channel.send((READ, number))
            kind, value = self._channel.receive()
            if kind == REFUSED:
                error = revived(value)
                error.geoflow_origin = value.origin  # type: ignore[attr-defined]
                raise error
            if kind == END:
                return
            yield value
            del value  # the frames before the next ones are not kept here


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)  # what C code has printed
