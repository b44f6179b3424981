"""The counts of each video and each stage of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from geoflow.engine.schedule import Verdict
from geoflow.observe.events import named

_WORKED = named("stage_done", "stage_failed", "finish_done")  # events with the time that an actor worked
_FAILED = named("stage_failed", "finish_failed")


def amounts(row: dict[str, Any]) -> dict[str, float]:
    """Return what one event adds to the figures of its stage; {} for most events.

    `calls` counts successful calls. `busy_seconds` also counts failed calls and `finish`.

    >>> amounts({"event": "stage_done", "slot": "prior", "seconds": 2.0, "bytes": 8})
    {'busy_seconds': 2.0, 'calls': 1, 'bytes': 8}
    >>> amounts({"event": "actor_died", "slot": "prior"})
    {'restarts': 1}
    """
    event, found = row["event"], {}
    if event in _WORKED:
        found["busy_seconds"] = row.get("seconds", 0.0)
    if event == "stage_done":
        found |= {"calls": 1, "bytes": row.get("bytes", 0)}
    elif event in _FAILED:
        found |= {"failures": 1, "retries": int("verdict" in row and Verdict(row["verdict"]).tries_again)}
    elif event == "actor_died":
        found["restarts"] = 1
    return found


@dataclass(slots=True)
class VideoCount:
    """One input: `waiting` (not opened yet), `running`, `complete`, `failed`, or `interrupted` in an earlier run."""

    name: str
    run: int = 0  # the last run that had it as an input
    state: str = "waiting"
    reason: str = ""  # why it failed
    frames: int = 0
    segments: int = 0
    segments_done: int = 0  # including segments of earlier runs
    finished_before: int = 0  # segments that earlier runs finished
    calls: int = 0  # of all stages together in this run, counted once per segment
    seconds: float = 0.0
    reused: bool = False  # complete from an earlier run
    recovered: str = ""  # if complete: what was recovered, and what was not and why
    lacking: str = ""  # what is missing in all or in part
    done: dict[str, int] = field(default_factory=dict)  # slot -> segments, while it is running
    surveyed: dict[str, int] = field(default_factory=dict)  # slot -> frames of surveyed spans, while it is running

    @property
    def to_do(self) -> int:
        """Return the number of segments that this run has to work on."""
        return self.segments - self.finished_before

    def done_by(self, slot: str) -> int:
        """Return the number of segments that a stage is done with; repeated work counts once."""
        return min(self.done.get(slot, 0), self.to_do)

    @property
    def frames_to_do(self) -> float:
        """Return the frames of the segments that this run has to work on."""
        return self.frames * self.to_do / max(self.segments, 1)

    @property
    def frames_done(self) -> float:
        """Return the frames of the segments that this run finished."""
        return self.frames * (self.segments_done - self.finished_before) / max(self.segments, 1)

    def survey(self, slot: str, span: Sequence[int]) -> None:
        self.surveyed[slot] = self.surveyed.get(slot, 0) + span[1] - span[0]

    def advance(self, slot: str) -> None:
        self.done[slot] = self.done.get(slot, 0) + 1


@dataclass(slots=True)
class StageCount:
    """The work of one stage in the latest run."""

    slot: str
    calls: int = 0
    segments: int = 0  # calls for one segment each; other calls were for a whole span
    segment_seconds: float = 0.0  # of the calls for segments
    frames: int = 0  # of the spans that were surveyed
    survey_seconds: float = 0.0
    busy_seconds: float = 0.0
    bytes: int = 0
    failures: int = 0
    retries: int = 0
    restarts: int = 0
    disabled: str = ""  # why it cannot run
    ready: bool = False  # one of its actors has loaded
    first: float | None = None  # when its first call began, by the run's clock
    last: float = 0.0  # when its latest call ended
    total_over: int = 0  # segments of videos that are over
    done_over: int = 0

    def add(self, row: dict[str, Any]) -> None:
        """Add an event of this stage."""
        for name, amount in amounts(row).items():
            setattr(self, name, getattr(self, name) + amount)
