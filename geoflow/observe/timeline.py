"""The timeline of a run, rebuilt from its ledger: which actor worked on what and when, and each stage's times."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from geoflow.observe.counts import amounts
from geoflow.observe.events import named

# Times are seconds since the epoch: `time` by the run's clock, `began` by the clock of the actor's node, which may be
# wrong, or step during the run. Durations are measured where the work is done.
_ANSWERED_S = 10.0  # from the end of a call to its event; with a longer time, the node's clock is wrong
_CALLS = named("stage_done", "stage_failed")
_KINDS = {
    **dict.fromkeys(named("actor_ready"), "load"),
    **dict.fromkeys(named("finish_done"), "finish"),
    **dict.fromkeys(_CALLS, "process"),
}


@dataclass(frozen=True, slots=True)
class ActorCall:
    """One call of an actor. `segment` is -1 for a call without a segment."""

    kind: str  # load, process or finish
    slot: str
    actor: int
    video: str
    segment: int
    submitted: float
    began: float
    seconds: float
    good: bool = True
    level: int = 0  # of the stage's ladder
    attempt: int = 1
    bytes: int = 0  # of its outputs
    frames: tuple[int, int] | None = None  # [start, stop) of a call on a whole span, whose first segment is `segment`

    @property
    def title(self) -> str:
        """Return the purpose of the call, in a word or two."""
        if self.kind != "process":
            return {"load": "loading", "finish": f"finish {self.video}"}[self.kind]
        if self.frames is not None:
            return f"{self.video} frames {self.frames[0]} to {self.frames[1] - 1}"
        return f"{self.video} [{self.segment}]"

    @property
    def ended(self) -> float:
        return self.began + self.seconds

    @property
    def waited(self) -> float:
        """Return the seconds from submitting the call until it began; never negative, also if clocks disagree."""
        return max(0.0, self.began - self.submitted)


@dataclass(slots=True)
class ActorRow:
    """One actor's life: `died` is None if it lived until the run's end."""

    slot: str
    actor: int
    where: str  # process and host
    ready: float
    died: float | None = None
    calls: list[ActorCall] = field(default_factory=list)

    @property
    def busy_seconds(self) -> float:
        return sum(call.seconds for call in self.calls if call.kind != "load")

    def busy_share(self, run_ended: float) -> float:
        """Return the share of time in which it worked, from being ready until its death or the run's end."""
        there = (self.died or run_ended) - self.ready
        return min(1.0, self.busy_seconds / there) if there > 0 else 0.0


@dataclass(slots=True)
class StageRow:
    """The work of one stage in the run."""

    slot: str
    failures: int = 0
    retries: int = 0  # failures that led to another attempt
    restarts: int = 0  # actors that died
    bytes: int = 0
    level: int = 0  # the cheapest level of its ladder that was used
    busy_seconds: float = 0.0  # including failed calls and `finish`
    service: list[float] = field(default_factory=list)  # seconds of each successful call
    waits: list[float] = field(default_factory=list)  # seconds that each successful call waited in its actor's queue

    @property
    def calls(self) -> int:
        return len(self.service)

    def summary(self) -> dict[str, Any]:
        """Return the row as plain numbers."""
        return {
            "slot": self.slot,
            "calls": self.calls,
            "busy_seconds": self.busy_seconds,
            "mean_seconds": statistics.fmean(self.service) if self.service else None,
            "median_seconds": quantile(self.service, 0.5),
            "p95_seconds": quantile(self.service, 0.95),
            "median_wait_seconds": quantile(self.waits, 0.5),
            "bytes": self.bytes,
            "failures": self.failures,
            "retries": self.retries,
            "restarts": self.restarts,
            "ladder_level": self.level,
        }


@dataclass(slots=True)
class Timeline:
    """One run: its actors in the order of the pipeline, its stages by slot."""

    began: float
    ended: float  # time of the last known event
    actors: list[ActorRow]
    stages: dict[str, StageRow]


def quantile(values: list[float], share: float) -> float | None:
    """Return the nearest-rank quantile; None if there are no values.

    >>> quantile([3, 1, 2, 4], 0.5), quantile([3, 1, 2, 4], 0.95)
    (2, 4)
    """
    if not values:
        return None
    rank = -(-len(values) * share // 1)  # rounded up
    return sorted(values)[max(0, int(rank) - 1)]


def call_of(row: dict[str, Any]) -> ActorCall | None:
    """Return the call of an event; None for other events, and for calls that never returned."""
    kind = _KINDS.get(row["event"])
    if kind is None or "began" not in row or "actor" not in row:
        return None
    began = _began(row)
    waited = row["waited"] if "waited" in row else row["began"] - row.get("submitted", row["began"])
    return ActorCall(
        kind,
        row["slot"],
        row["actor"],
        row.get("video", ""),
        row.get("index", -1),
        began - waited,
        began,
        row["seconds"],
        good=row["event"] != "stage_failed",
        level=row.get("level", 0),
        attempt=row.get("attempt", 1),
        bytes=row.get("bytes", 0),
        frames=(row["span"][0], row["span"][1]) if "span" in row else None,
    )


def _began(row: dict[str, Any]) -> float:
    """Return when a call began, by its node's clock. If that clock is wrong, the call's end is taken to be its
    event."""
    told, latest = float(row["began"]), row["time"] - row["seconds"] - row.get("save_seconds", 0.0)
    return told if abs(told - latest) <= _ANSWERED_S else latest


def build_timeline(events: Iterable[dict[str, Any]]) -> Timeline:
    """Return the timeline of one run's events, as `iter_events(path, last_run(path))` gives them."""
    actors: dict[int, ActorRow] = {}
    stages: dict[str, StageRow] = {}
    began = ended = 0.0
    for row in events:
        began, ended = began or row["time"], max(ended, row["time"])
        if row["event"] == "run_started":
            stages = {slot: StageRow(slot) for slot in row.get("slots", ())}
        if row["event"] == "actor_ready" and "actor" in row:
            where = f"process {row.get('pid', '?')} on {row.get('host', '?')}"
            actors[row["actor"]] = ActorRow(row["slot"], row["actor"], where, ready=row["time"])
        call = call_of(row)
        if (slot := row.get("slot")) is not None:
            _count(stages.setdefault(slot, StageRow(slot)), row, call)
        if row["event"] == "actor_died" and (dead := actors.get(row.get("actor", -1))) is not None:
            dead.died = row["time"]
        if call is not None:
            actor = actors.setdefault(call.actor, ActorRow(call.slot, call.actor, "", ready=call.began))
            actor.calls.append(call)
            began = min(began, call.began)
    order = {slot: i for i, slot in enumerate(stages)}
    in_order = sorted(actors.values(), key=lambda actor: (order[actor.slot], actor.actor))
    return Timeline(began, ended, in_order, stages)


def _count(stage: StageRow, row: dict[str, Any], call: ActorCall | None) -> None:
    for name, amount in amounts(row).items():
        if name != "calls":  # the number of calls is the length of `service`
            setattr(stage, name, getattr(stage, name) + amount)
    if row["event"] in _CALLS:
        stage.level = max(stage.level, row.get("level", 0))
    if row["event"] == "stage_done":
        stage.service.append(row["seconds"])
        if call is not None:
            stage.waits.append(call.waited)
