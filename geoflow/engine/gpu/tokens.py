"""A GPU's run token: which calls compute on the GPU at a moment, and which calls wait for them to end.

The token is divided into lanes: a call gets a range of it as long as its stage's share. Its worker computes only while
it holds a lock on this range. So the driver may send a call ahead, to a worker that starts the moment the previous
call is done. The lock is a lock of the operating system: it changes hands in microseconds, and it is free when its
holder dies.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

UNITS = 1000  # a whole token


@dataclass(frozen=True)
class Lane:
    """Units `start` to `stop` of the token `key`."""

    key: int
    start: int
    stop: int

    def meets(self, other: Lane) -> bool:
        return self.start < other.stop and other.start < self.stop


@functools.cache
def lane_starts(length: int, units: int) -> tuple[int, ...]:
    """Return where lanes of this length may start on a token of `units` units: side by side from its beginning, or from
    its end. So lanes whose lengths do not divide the token have room beside each other.

    >>> lane_starts(500, 1000), lane_starts(400, 1000)
    ((0, 500), (0, 400, 600, 200))
    """
    last = units - length
    return tuple(dict.fromkeys([*range(0, last + 1, length), *range(last, -1, -length)]))


@dataclass(eq=False)
class Hold:
    """A call's claim to a lane, from sending the call until its answer arrives."""

    lane: Lane
    seconds: float | None  # how long it is expected to compute
    since: float  # when it could begin; while it waits, when it is expected to begin
    waiting: bool  # behind another call

    @property
    def ends(self) -> float:
        """Return when the call is expected to end."""
        return float("inf") if self.seconds is None else self.since + self.seconds


@dataclass(eq=False)
class Token:
    """The driver's record of one GPU. All times are seconds of the same clock."""

    key: int = field(default_factory=lambda: int.from_bytes(os.urandom(5), "big"))
    holds: list[Hold] = field(default_factory=list)
    free: float = 1.0  # share of the token that no running call holds
    _places: dict[int, tuple[float, Lane] | None] = field(default_factory=dict)  # length -> best, until holds change

    def place(self, share: float, now: float) -> tuple[float, Lane] | None:
        """Return (time, lane): the lane for a call that takes `share` of the GPU, and when it can begin there; None if
        no lane can be had.

        Lanes lie side by side from either end, so that gaps do not become too small for others. At most one call waits
        behind each call.

        >>> token = Token(key=1)
        >>> hold = token.take(token.place(0.5, now=0.0)[1], seconds=3.0, now=0.0)
        >>> token.place(1.0, now=1.0)
        (3.0, Lane(key=1, start=0, stop=1000))
        """
        length = max(1, min(UNITS, round(share * UNITS)))
        if length not in self._places:
            self._places[length] = self._best_place(length)
        found = self._places[length]
        return None if found is None else (max(now, found[0]), found[1])

    def _best_place(self, length: int) -> tuple[float, Lane] | None:
        """Return (time, lane) of the lane that is free first; the time is 0 if it is free now."""
        best: tuple[float, Lane] | None = None
        for start in lane_starts(length, UNITS):
            lane = Lane(self.key, start, start + length)
            behind = [hold for hold in self.holds if hold.lane.meets(lane)]
            if any(hold.waiting for hold in behind):
                continue
            ends = max((hold.ends for hold in behind), default=0.0)
            if best is None or ends < best[0]:
                best = ends, lane
        return best

    def after(self, hold: Hold) -> tuple[float, Lane] | None:
        """Return the same lane when `hold` is over, if no other call waits for any part of it."""
        if any(other.waiting and other.lane.meets(hold.lane) for other in self.holds):
            return None
        return hold.ends, hold.lane

    def ends(self) -> list[float]:
        """Return the expected ends of the calls behind which another call could still be sent."""
        waiting = [hold.lane for hold in self.holds if hold.waiting]
        running = [hold for hold in self.holds if not hold.waiting]
        return [hold.ends for hold in running if not any(lane.meets(hold.lane) for lane in waiting)]

    def take(self, lane: Lane, seconds: float | None, now: float) -> Hold:
        behind = [hold for hold in self.holds if hold.lane.meets(lane)]
        hold = Hold(lane, seconds, max([now, *(h.ends for h in behind)]), waiting=bool(behind))
        self.holds.append(hold)
        self._changed()
        return hold

    def give(self, hold: Hold, now: float) -> None:
        """Note that the call is over. A call that waits for exactly this lane can begin now."""
        if hold not in self.holds:
            return
        self.holds.remove(hold)
        for other in self.holds:
            if other.waiting and not any(h is not other and h.lane.meets(other.lane) for h in self.holds):
                other.waiting, other.since = False, now
        self._changed()

    def _changed(self) -> None:
        self._places.clear()
        self.free = 1.0 - sum(h.lane.stop - h.lane.start for h in self.holds if not h.waiting) / UNITS


@contextlib.contextmanager
def held(lane: Lane | None) -> Iterator[None]:
    """In the worker: wait until the lane is free, and hold it.

    All workers of a machine lock ranges of one empty file, with a part of the file for each token. If the file cannot
    be opened, only the driver's record keeps the workers apart. A process must not hold two lanes.
    """
    if lane is None:
        yield
        return
    import fcntl

    try:
        file = _open_lock_file()
    except OSError:
        yield
        return
    stretch = lane.stop - lane.start, lane.key * UNITS + lane.start
    fcntl.lockf(file, fcntl.LOCK_EX, *stretch)
    try:
        yield
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN, *stretch)


@functools.cache
def _open_lock_file() -> int:
    """Open the lock file, once in a process and until the process ends: closing a file releases all its locks."""
    path = Path(tempfile.gettempdir()) / f"geoflow-{os.getuid()}.lock"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
