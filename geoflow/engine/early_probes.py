"""Early probes: the first inputs are probed in a child process before Ray is up, and while it starts.

What can be decided without Ray is decided here: inputs that are refused, and videos that an earlier run finished. Ray
starts when the first input needs work. The driver is not risked: a file that crashes the decoder ends the child, and
such an input is probed again by Ray.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from geoflow.engine.outcome import Failure, Outcome
from geoflow.engine.schedule import Kind
from geoflow.engine.state import NOT_FINISHED, VideoRun
from geoflow.errors import GeoFlowError, InputError
from geoflow.segments import VideoInfo
from geoflow.video.probing_process import Answer, ProbingProcess

_LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Patience:
    """How long Ray's start waits for inputs that need no work, in s.

    `whole_s` is for all of them: many finished videos are found faster by many actors. `each_s` is for one: its file
    may have to be read once as a whole, which Ray's start need not wait for.
    """

    whole_s: float
    each_s: float


FOR_NEW_WORK = Patience(6.0, 2.0)
FOR_FINISHED_WORK = Patience(20.0, 10.0)  # if every store is there already: Ray would most probably start for nothing

Found = tuple[VideoInfo, dict[str, Any]]
Check = Callable[[VideoInfo], VideoInfo]


@dataclass(frozen=True)
class Early:
    """The answer for one video. `outcome` is None if the child could not say: the video is to be probed by Ray."""

    video: VideoRun
    outcome: Outcome | None
    arrays: dict[str, Any]


class EarlyProbes:
    """Probes videos in their order, `ahead` of what was decided at most; use as a context manager."""

    def __init__(self, process: ProbingProcess | None, check: Check, videos: Sequence[VideoRun], ahead: int) -> None:
        """Without a process nothing is probed. `check` completes a description on the driver, or raises the
        GeoFlowError that ends the video."""
        self._process, self._check, self._videos = process, check, videos
        self._room = threading.Semaphore(ahead)
        self._answers: queue.Queue[Early] = queue.Queue()
        self._kept: deque[Early] = deque()
        self._asked: deque[VideoRun] = deque()  # not answered yet
        self._lock = threading.Lock()  # guards `_asked` and `_over`
        self._over = process is None or not videos  # nothing more is asked

    def __enter__(self) -> EarlyProbes:
        if self._process is not None and not self._over:
            threading.Thread(target=self._ask_all, args=(self._process,), name="geoflow-early", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.ask_no_more()

    def ask_no_more(self) -> None:
        """Let only the probe that runs now end; its answer is still given."""
        with self._lock:
            self._over = True
        self._room.release()

    @property
    def pending(self) -> bool:
        """Return whether an answer is to come, or was not taken yet."""
        with self._lock:
            return bool(self._asked or self._kept) or not self._answers.empty()

    @property
    def ended(self) -> bool:
        """Return whether nothing is asked any more, and every answer was taken."""
        return self._over and not self.pending

    def next(self, timeout: float) -> Early | None:
        """Return the next answer, in the order of the videos; None if there is none within `timeout` seconds."""
        if self._kept:
            return self._kept.popleft()
        try:
            return self._answers.get(timeout=timeout) if timeout > 0 else self._answers.get_nowait()
        except queue.Empty:
            return None

    def put_back(self, early: Early) -> None:
        """Keep an answer for whoever asks next."""
        self._kept.appendleft(early)

    def decided(self) -> None:
        """Note that the last answer needs no work, so that one more video may be probed."""
        self._room.release()

    def coming(self) -> list[VideoRun]:
        """Return the videos whose answers are still to be taken."""
        with self._lock:
            asked = list(self._asked)
        with self._answers.mutex:
            found = [early.video for early in (*self._kept, *self._answers.queue)]
        return list({id(video): video for video in (*found, *asked)}.values())

    def _ask_all(self, process: ProbingProcess) -> None:
        for video in self._videos:
            self._room.acquire()
            with self._lock:
                if self._over:
                    return
                self._asked.append(video)
            try:
                began, clock = time.time(), time.monotonic()
                early = self._told(video, process.ask(video.input), began, time.monotonic() - clock)
            except Exception:  # the child has ended: OSError, or whatever half a pickle raises
                early = Early(video, None, {})
            self._answers.put(early)
            with self._lock:
                self._asked.remove(video)
                self._over |= early.outcome is None
        with self._lock:
            self._over = True

    def _told(self, video: VideoRun, answer: Answer, began: float, seconds: float) -> Early:
        error, arrays = answer.error, dict[str, Any]()
        if error is None and answer.found is None:
            return Early(video, None, {})
        outcome = Outcome(began=began, seconds=seconds)
        if answer.found is not None:
            info, arrays = answer.found
            try:
                outcome = replace(outcome, value=(self._check(info), tuple(arrays)))
            except GeoFlowError as refused:
                error = refused
        if error is not None:
            kind = Kind.INPUT if isinstance(error, InputError) else Kind.STORE
            outcome = replace(outcome, failure=Failure(kind, str(error), answer.traceback, None))
        return Early(video, outcome, arrays)


def decide_early(
    videos: Sequence[VideoRun],
    early: EarlyProbes,
    patience: Patience,
    already_done: Callable[[VideoInfo], dict[str, Any] | None],
    emit: Callable[..., None],
    *,
    fail_fast: bool = False,
) -> bool:
    """Decide about inputs until one needs work, or it takes too long. Return whether every video is over."""
    until = time.monotonic() + patience.whole_s
    while not early.ended and (now := time.monotonic()) < until:
        found = early.next(min(patience.each_s, until - now))
        if found is None:
            break
        if not _is_over(found, already_done, emit):
            early.put_back(found)
            break
        early.decided()
        _fail_others(videos, found.video, emit, fail_fast=fail_fast)
    return all(video.over for video in videos)


@contextlib.contextmanager
def deciding_meanwhile(
    videos: Sequence[VideoRun],
    early: EarlyProbes,
    already_done: Callable[[VideoInfo], dict[str, Any] | None],
    emit: Callable[..., None],
    *,
    fail_fast: bool = False,
) -> Iterator[None]:
    """Go on deciding in a thread while the `with` block starts Ray; the block itself must not emit events."""
    wanted: deque[Early] = deque()
    ready = threading.Event()

    def decide() -> None:
        while not (ready.is_set() or early.ended):
            if (found := early.next(_LOOK_EVERY_S)) is None:
                continue
            wanted.append(found)  # also if deciding raises: it is probed and decided again
            if _is_over(found, already_done, emit):
                wanted.pop()
                early.decided()
                _fail_others(videos, found.video, emit, fail_fast=fail_fast)

    thread = threading.Thread(target=decide, name="geoflow-deciding", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ready.set()
        thread.join()
        while wanted:
            early.put_back(wanted.pop())


def _fail_others(videos: Sequence[VideoRun], video: VideoRun, emit: Callable[..., None], *, fail_fast: bool) -> None:
    if fail_fast and video.status == "failed":
        for other in videos:
            if not other.over:
                other.fail(NOT_FINISHED, emit=emit)


def _is_over(
    found: Early, already_done: Callable[[VideoInfo], dict[str, Any] | None], emit: Callable[..., None]
) -> bool:
    """Decide about one video. Return False if it needs work, or nothing is known of it."""
    video, outcome = found.video, found.outcome
    if video.over:  # another failed first
        return True
    if outcome is None:
        return False
    if outcome.failure is not None:
        video.fail(outcome.failure.message, outcome.failure.traceback, emit=emit)
        return True
    video.info = outcome.value[0]
    if (result := already_done(video.info)) is not None:
        video.skip(result, emit=emit)
    return video.over
