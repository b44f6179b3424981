"""The board: what to draw of a run at one moment, computed from its tally. Other modules draw it.

The texts on it are here, too, so that console, notebook and jobs say the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from geoflow.observe.tally import Tally
from geoflow.values.durations import clock
from geoflow.values.words import counted

_MOST_NAMES = 3  # of videos under way in one line


@dataclass(frozen=True)
class StageBar:
    """The progress of one stage. `done` and `total` count segments; `total` may grow while videos wait."""

    slot: str
    done: int
    total: int
    state: str  # waiting, starting, working, done, left out
    rate: float | None = None  # segments per second, from its first call to its latest

    @property
    def share(self) -> float:
        if self.state == "done":
            return 1.0
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def detail(self) -> str:
        """Return the text beside its bar.

        >>> StageBar("camera", 3, 8, "working", rate=0.25).detail
        '3 of 8 segments, 4.0 s each'
        """
        if self.state in ("left out", "starting") or not self.total:
            return self.state
        pace = ""
        if self.rate:
            pace = f", {self.rate:.1f}/s" if self.rate >= 1 else f", {1 / self.rate:.1f} s each"
        return f"{self.done} of {counted(self.total, 'segment')}{pace}"


@dataclass(frozen=True)
class Board:
    """All values to draw at one moment. Texts are plain, not yet escaped."""

    state: str  # starting, running, stopping, finished, stopped
    elapsed_s: float
    eta_s: float | None
    num_inputs: int
    complete: int
    failed: int
    stages: tuple[StageBar, ...]
    failures: tuple[str, ...]  # "name: reason" of the first failures
    remarks: tuple[str, ...]  # the latest remarks on what did not go as planned
    reason: str = ""  # why it was stopped
    share: float = 0.0  # of the run's time, as far as known
    frames_per_s: float | None = None  # finished, since the first call
    doing: str = ""  # what is waited for before the first call
    under_way: tuple[str, ...] = ()  # names of videos

    @property
    def over(self) -> bool:
        return self.state in ("finished", "stopped")

    @property
    def headline(self) -> str:
        """Return one line that says how far the run is.

        >>> Board("running", 65.0, 12.4, 3, 1, 0, (), (), ()).headline
        'running: 1 of 3 videos, 0:01:05, about 0:00:12 left'
        """
        ended = self.complete + self.failed
        videos = f"{ended} of {counted(self.num_inputs, 'video')}"
        failed = f", {self.failed} failed" if self.failed else ""
        why = f" ({self.reason})" if self.reason else ""
        state = self.state if self.over or not self.doing else self.doing
        return f"{state}{why}: {videos}{failed}, {clock(self.elapsed_s)}{self.pace}"

    @property
    def pace(self) -> str:
        """Return the rate and the time left, as far as known, with a comma before each."""
        rate = f", {self.frames_per_s:.1f} frames/s" if self.frames_per_s and not self.over else ""
        return rate + (f", about {clock(self.eta_s)} left" if self.eta_s is not None else "")

    @property
    def subject(self) -> str:
        """Return what is worked on: the video's name, or the number of videos with the names of those under way."""
        names = ", ".join(self.under_way[:_MOST_NAMES])
        more = f" and {len(self.under_way) - _MOST_NAMES} more" if len(self.under_way) > _MOST_NAMES else ""
        if self.num_inputs == 1:
            return names or "1 video"
        ended = f"{self.complete + self.failed} of {counted(self.num_inputs, 'video')}"
        return f"{ended} ({names}{more})" if names else ended


def board_of(tally: Tally, now: float) -> Board:
    """Return the board at the moment `now`, in s since the epoch by the run's clock."""
    return Board(
        tally.state,
        tally.elapsed(now),
        tally.eta(now),
        tally.num_inputs,
        tally.complete,
        tally.failed,
        tuple(_bar(tally, slot) for slot in tally.stages),
        tuple(tally.failures),
        tuple(tally.remarks),
        tally.reason,
        tally.share(now),
        tally.frame_rate(now),
        tally.doing,
        tuple(tally.under_way),
    )


def _bar(tally: Tally, slot: str) -> StageBar:
    stage, total, done = tally.stages[slot], tally.total(slot), tally.done(slot)
    rate = None if stage.first is None else stage.segments / max(stage.last - stage.first, 1e-3)
    if stage.disabled:
        state = "left out"
    elif done >= total and ((tally.all_planned and total) or tally.state == "finished"):
        state = "done"
    elif done:
        state = "working"
    else:
        state = "waiting" if stage.ready else "starting"
    return StageBar(slot, done, total, state, rate)
