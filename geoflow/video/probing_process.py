"""A child process that probes inputs for its parent: a file that crashes the decoder ends the child alone.

The parent writes pickles to stdin: first the function that probes, then inputs one by one. Each input is answered by
one pickle on stdout: `Answer`. Other output of the child is dropped.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from geoflow.errors import GeoFlowError
from geoflow.segments import VideoInfo
from geoflow.video.inputs import Input

Describe = Callable[[Input], tuple[VideoInfo, dict[str, Any]]]


@dataclass(frozen=True)
class Answer:
    """What is known of an input, or the error that ends it. Neither: the child could not say."""

    found: tuple[VideoInfo, dict[str, Any]] | None = None
    error: GeoFlowError | None = None
    traceback: str = ""


class ProbingProcess:
    """The parent's side. Only one thread may ask at a time."""

    def __init__(self, describe: Describe) -> None:
        """Raises OSError if no process can be started."""
        code = "import sys; sys.path[:] = sys.argv[1:]; from geoflow.video.probing_process import serve; serve()"
        # The process has a session of its own: Ctrl-C in a terminal is for the run, which ends this child itself.
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._to, self._from = self._process.stdin, self._process.stdout
        self._describe: Describe | None = describe

    def ask(self, item: Input) -> Answer:
        """Return the child's answer. Raises EOFError or OSError if the child has ended."""
        assert self._to is not None and self._from is not None
        if self._describe is not None:
            pickle.dump(self._describe, self._to)
            self._describe = None
        pickle.dump(item, self._to)
        self._to.flush()
        answer: Answer = pickle.load(self._from)
        return answer

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> None:
        """End the child at once, whatever it is doing."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def probing_process(describe: Describe) -> Iterator[ProbingProcess | None]:
    """Provide a child that probes, which imports what it needs meanwhile; None if none can be started."""
    try:
        child = ProbingProcess(describe)
    except OSError:
        yield None
        return
    try:
        yield child
    finally:
        child.end()


def serve() -> None:
    """Answer requests until the parent closes the pipe or is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not damage the answers
    requests: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, requests), daemon=True).start()
    describe: Describe = requests.get()
    while True:
        pickle.dump(answer_to(describe, requests.get()), answers)
        answers.flush()


def _listen(asked: BinaryIO, requests: queue.Queue[Any]) -> None:
    """Read requests also while one is worked on, so that the end of the parent is noticed at once."""
    try:
        while True:
            requests.put(pickle.load(asked))
    except BaseException:
        os._exit(0)


def answer_to(describe: Describe, item: Input) -> Answer:
    """Probe one input. An error that is not the input's own is no answer: whoever probes next reports it."""
    try:
        return Answer(found=describe(item))
    except GeoFlowError as error:
        return Answer(error=error, traceback="".join(traceback.format_exception(error)))
    except Exception:
        return Answer()
