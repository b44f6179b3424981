"""What is to be shown of a run while it runs, counted from the ledger's events; drawn elsewhere."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

_MOST_FAILURES = 20  # named; the result names them all
_MOST_REMARKS = 5  # the latest
_THEN = {
    "retry": "is tried again",
    "recover": "is tried again when what it reads is made anew",
    "cheaper": "is tried with a cheaper setting",
    "alone": "is tried on a GPU of its own",
    "skip": "is left out there",
}


@dataclass(frozen=True)
class StageBar:
    """How far one stage is. `done` and `total` count segments; more may be added while videos wait."""

    slot: str
    done: int
    total: int
    state: str  # waiting, starting, working, done, left out
    rate: float | None = None  # segments a second, from its first call to its latest

    @property
    def share(self) -> float:
        if self.state == "done":
            return 1.0
        return min(1.0, self.done / self.total) if self.total else 0.0


@dataclass(frozen=True)
class Board:
    """All there is to draw at one moment; texts are plain, not yet escaped."""

    state: str  # starting, running, stopping, finished, stopped
    elapsed_s: float
    eta_s: float | None
    num_inputs: int
    complete: int
    failed: int
    stages: tuple[StageBar, ...]
    failures: tuple[str, ...]  # "name: reason", the first of them
    remarks: tuple[str, ...]  # what else went otherwise than planned, the latest
    reason: str = ""  # of stopping

    @property
    def over(self) -> bool:
        return self.state in ("finished", "stopped")


@dataclass
class _Video:
    segments: int  # that this run is to do
    done: Counter[str] = field(default_factory=Counter)  # slot -> segments


class Tally:
    """Adds up events; `board` says what to draw. Knows neither Jupyter nor threads."""

    def __init__(self, num_inputs: int, now: float) -> None:
        self._num_inputs, self._created, self._ended = num_inputs, now, 0.0
        self._slots: tuple[str, ...] = ()
        self._state, self._reason = "starting", ""
        self._videos: dict[str, _Video] = {}  # under way
        self._total: Counter[str] = Counter()  # of videos that are over
        self._done: Counter[str] = Counter()
        self._planned = self._segments = self._over = 0
        self._ready: set[str] = set()
        self._disabled: set[str] = set()
        self._first: dict[str, float] = {}  # slot -> when its first call began
        self._last: dict[str, float] = {}  # slot -> when its latest call ended
        self._calls: Counter[str] = Counter()
        self._complete = self._failed = 0
        self._failures: list[str] = []
        self._remarks: deque[str] = deque(maxlen=_MOST_REMARKS)

    def observe(self, row: dict[str, Any]) -> None:
        """Take in one event of the ledger."""
        if (handler := getattr(self, f"_on_{row['event']}", None)) is not None:
            handler(row)

    def board(self, now: float) -> Board:
        bars = tuple(self._bar(slot) for slot in self._slots)
        return Board(
            self._state,
            (self._ended or now) - self._created,
            self._eta(bars, now),
            self._num_inputs,
            self._complete,
            self._failed,
            bars,
            tuple(self._failures),
            tuple(self._remarks),
            self._reason,
        )

    def _bar(self, slot: str) -> StageBar:
        total = self._total[slot] + sum(video.segments for video in self._videos.values())
        done = self._done[slot] + sum(min(video.done[slot], video.segments) for video in self._videos.values())
        rate = None
        if slot in self._first:
            rate = self._calls[slot] / max(self._last[slot] - self._first[slot], 1e-3)
        all_planned = self._over + len(self._videos) >= self._num_inputs
        if slot in self._disabled:
            state = "left out"
        elif done >= total and ((all_planned and total) or self._state == "finished"):
            state = "done"
        elif done:
            state = "working"
        else:
            state = "waiting" if slot in self._ready else "starting"
        return StageBar(slot, done, total, state, rate)

    def _eta(self, bars: tuple[StageBar, ...], now: float) -> float | None:
        """At the pace so far; a video that waits counts as much as those planned do on average."""
        if self._state != "running" or not self._first:
            return None
        able = [bar for bar in bars if bar.state != "left out"]
        done = sum(self._calls.values())
        waiting = max(0, self._num_inputs - self._over - len(self._videos))
        left = float(sum(bar.total - bar.done for bar in able))
        left += waiting * len(able) * self._segments / max(self._planned, 1)
        return (now - min(self._first.values())) * left / max(done, 1)

    def _on_run_started(self, row: dict[str, Any]) -> None:
        self._state, self._slots = "running", tuple(row.get("slots", ()))

    def _on_actor_ready(self, row: dict[str, Any]) -> None:
        self._ready.add(row["slot"])

    def _on_video_planned(self, row: dict[str, Any]) -> None:
        self._videos[row["video"]] = _Video(row["segments"] - row.get("finished", 0))
        self._planned += 1
        self._segments += row["segments"] - row.get("finished", 0)

    def _on_segment_resumed(self, row: dict[str, Any]) -> None:
        for slot in row["unneeded"]:
            self._advance(row["video"], slot)

    def _on_stage_restored(self, row: dict[str, Any]) -> None:
        if "span" not in row:
            self._advance(row["video"], row["slot"])

    def _on_stage_done(self, row: dict[str, Any]) -> None:
        self._first.setdefault(row["slot"], row["time"] - row["seconds"])
        self._last[row["slot"]] = row["time"]
        if "span" not in row:  # what is done for a whole span comes with the segments it is for
            self._calls[row["slot"]] += 1
            self._advance(row["video"], row["slot"])

    def _advance(self, name: str, slot: str) -> None:
        if (video := self._videos.get(name)) is not None:
            video.done[slot] += 1

    def _on_video_complete(self, row: dict[str, Any]) -> None:
        self._complete += 1
        if row.get("lacking"):
            self._remarks.append(f"{row['video']}: {row['recovered']}")
        self._end(row["video"], whole=True)

    def _on_video_skipped(self, row: dict[str, Any]) -> None:
        self._complete += 1
        self._remarks.append(f"{row['video']} is complete from an earlier run")
        self._end(row["video"], whole=True)

    def _on_video_noted(self, row: dict[str, Any]) -> None:
        self._remarks.extend(f"{row['video']}: {note}" for note in row["notes"])

    def _on_video_failed(self, row: dict[str, Any]) -> None:
        self._failed += 1
        if len(self._failures) < _MOST_FAILURES:
            self._failures.append(f"{row['video']}: {row['reason']}")
        self._end(row["video"], whole=False)

    def _end(self, name: str, *, whole: bool) -> None:
        """A video is over: what it did is kept as numbers, what it will not do no longer counts."""
        self._over += 1
        if (video := self._videos.pop(name, None)) is not None:
            for slot in self._slots:
                done = video.segments if whole else min(video.done[slot], video.segments)
                self._total[slot] += done
                self._done[slot] += done

    def _on_stage_disabled(self, row: dict[str, Any]) -> None:
        self._disabled.add(row["slot"])
        self._remarks.append(f"going on without {row['slot']}: {row['reason']}")

    def _on_stage_failed(self, row: dict[str, Any]) -> None:
        if row["verdict"] != "fail":
            then = _THEN.get(row["verdict"], row["verdict"])
            self._remarks.append(
                f"{row['slot']} failed on {row['video']} segment {row['index']}, {then}: {row['message']}"
            )

    def _on_actor_died(self, row: dict[str, Any]) -> None:
        self._remarks.append(f"an actor of {row['slot']} died and is replaced")

    def _on_video_rewound(self, row: dict[str, Any]) -> None:
        self._remarks.append(f"{row['video']} goes back to what is whole on disk: {row['reason']}")

    def _on_work_unsaved(self, row: dict[str, Any]) -> None:
        self._remarks.append(f"not saved for resuming: {row['slot']}: {row['reason']}")

    def _on_run_stopping(self, row: dict[str, Any]) -> None:
        self._state = "stopping"
        self._remarks.append(f"{row['running']} running call(s) may end; interrupt once more to stop at once")

    def _on_run_finished(self, row: dict[str, Any]) -> None:
        self._state, self._ended = "finished", row["time"]

    def _on_run_stopped(self, row: dict[str, Any]) -> None:
        self._state, self._reason, self._ended = "stopped", row["reason"], row["time"]
