"""The board: what to draw of a run at one moment, computed from its tally. Other modules draw it."""

from __future__ import annotations

from dataclasses import dataclass

from geoflow.observe.tally import Tally


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

    @property
    def over(self) -> bool:
        return self.state in ("finished", "stopped")


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
