"""The tally of a run, counted from its ledger: the one count behind console, notebook and `geoflow status`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from geoflow.observe.counts import StageCount, VideoCount
from geoflow.observe.events import EVENTS, named
from geoflow.observe.news import news_of

_MOST_FAILURES = 20  # to name here; the result names all
_MOST_REMARKS = 5  # the latest


class Tally:
    """Adds up the events of one run while it runs, or of all runs into a folder. It does no drawing and has no threads.

    `num_inputs` and `now` are known before the first event: the number of inputs, and the time.
    """

    def __init__(self, num_inputs: int = 0, now: float = 0.0) -> None:
        self._expected = num_inputs
        self.state = "starting"  # starting, running, stopping, finished, stopped
        self.reason = ""  # why it was stopped
        self.pipeline = self.host = ""
        self.pid = self.run = 0  # `run`: the number of runs so far
        self.began = self.last_event = now
        self.ended: float | None = None
        self.videos: dict[str, VideoCount] = {}  # of all runs
        self.stages: dict[str, StageCount] = {}  # of the latest run
        self._start_over()

    def _start_over(self) -> None:
        self.complete = self.failed = 0  # inputs of the latest run
        self.under_way: dict[str, VideoCount] = {}
        self.failures: list[str] = []
        self.remarks: deque[str] = deque(maxlen=_MOST_REMARKS)
        self._known = self._planned = self._planned_segments = 0

    def observe(self, row: dict[str, Any]) -> None:
        """Take in one event of the ledger."""
        self.last_event = max(self.last_event, row["time"])
        if (handler := _HANDLERS.get(row["event"])) is not None:
            handler(self, row)
        self.remarks.extend(map(str, news_of(row)))

    @property
    def num_inputs(self) -> int:
        """Return the number of inputs of the latest run, as far as known."""
        return max(self._expected, self._known)

    @property
    def over(self) -> int:
        """Return the number of inputs of the latest run that are complete or failed."""
        return self.complete + self.failed

    @property
    def all_planned(self) -> bool:
        """Return whether every input of the latest run was opened."""
        return self.over + len(self.under_way) >= self.num_inputs

    @property
    def goes_on(self) -> bool:
        return self.state in ("running", "stopping")

    def count(self, state: str) -> int:
        """Return the number of videos of all runs in a state."""
        return sum(video.state == state for video in self.videos.values())

    def elapsed(self, now: float) -> float:
        """Return the seconds since the latest run began, until its end if it has ended."""
        ended = self.ended
        if ended is None:
            ended = max(now, self.last_event) if self.goes_on or self.state == "starting" else self.last_event
        return max(0.0, ended - self.began)

    def total(self, slot: str) -> int:
        """Return the number of segments for a stage in this run; it may grow while inputs wait."""
        return self.stages[slot].total_over + sum(video.to_do for video in self.under_way.values())

    def done(self, slot: str) -> int:
        """Return the number of segments that a stage is done with, out of `total`."""
        return self.stages[slot].done_over + sum(video.done_by(slot) for video in self.under_way.values())

    def left(self) -> float:
        """Return the segments still to come, over all stages. A waiting input counts as the average of planned
        inputs."""
        able = self._able()
        known = sum(video.to_do - video.done_by(slot) for slot in able for video in self.under_way.values())
        waiting = max(0, self.num_inputs - self.over - len(self.under_way))
        return known + waiting * len(able) * self._planned_segments / max(self._planned, 1)

    def share(self) -> float:
        """Return the share of the run's work that is done, 0 to 1."""
        done = sum(self.done(slot) for slot in self._able())
        return done / total if (total := done + self.left()) else 0.0

    def share_of(self, video: VideoCount) -> float:
        """Return the share of a running video's work that is done, 0 to 1."""
        able = self._able()
        total = video.to_do * len(able)
        return sum(video.done_by(slot) for slot in able) / total if total else 0.0

    def eta(self, now: float) -> float | None:
        """Return the seconds until the end at the pace of this run's calls so far; None if not known."""
        worked = [stage for slot in self._able() if (stage := self.stages[slot]).first is not None]
        if self.state != "running" or not worked:
            return None
        segments = sum(stage.segments for stage in worked)
        return (now - min(stage.first or now for stage in worked)) * self.left() / max(segments, 1)

    def interrupt(self) -> None:
        """Note that the latest run has ended: its unfinished videos are not running any more."""
        for video in self.under_way.values():
            video.state, video.done = "interrupted", {}

    def _able(self) -> list[str]:
        return [slot for slot, stage in self.stages.items() if not stage.disabled]

    def _video(self, row: dict[str, Any]) -> VideoCount:
        name = row["video"]
        if (video := self.videos.get(name)) is None or video.run != self.run:
            self._known += 1
            video = self.videos[name] = VideoCount(name, self.run)
        return video

    def _stage(self, row: dict[str, Any]) -> StageCount:
        return self.stages.setdefault(row["slot"], StageCount(row["slot"]))

    # Events

    def _run_started(self, row: dict[str, Any]) -> None:
        self.interrupt()
        self._start_over()
        self.run += 1
        self.state, self.reason, self.pipeline = "running", "", row.get("pipeline", "")
        self.began, self.last_event, self.ended = row["time"], row["time"], None
        self.host, self.pid = row.get("host", ""), row.get("pid", 0)
        self.stages = {slot: StageCount(slot) for slot in row.get("slots", ())}
        names = row.get("videos", ())
        self.videos |= {name: VideoCount(name, self.run) for name in names}
        self._known = len(names)

    def _run_stopping(self, row: dict[str, Any]) -> None:
        self.state = "stopping"

    def _run_finished(self, row: dict[str, Any]) -> None:
        self.state, self.ended = "finished", row["time"]

    def _run_stopped(self, row: dict[str, Any]) -> None:
        self.state, self.reason, self.ended = "stopped", row.get("reason", ""), row["time"]

    def _video_planned(self, row: dict[str, Any]) -> None:
        video = self._video(row)
        video.state, video.frames, video.segments = "running", row["frames"], row["segments"]
        video.segments_done = video.finished_before = row.get("finished", 0)
        self.under_way[video.name] = video
        self._planned += 1
        self._planned_segments += video.to_do

    def _video_rewound(self, row: dict[str, Any]) -> None:
        """Count the segments again that were not complete on disk."""
        video = self._video(row)
        again = video.segments_done - video.finished_before
        video.done = {slot: min(count, again) for slot, count in video.done.items()}

    def _segment_resumed(self, row: dict[str, Any]) -> None:
        for slot in row["unneeded"]:
            self._video(row).advance(slot)

    def _stage_restored(self, row: dict[str, Any]) -> None:
        if "span" not in row:
            self._video(row).advance(row["slot"])

    def _segment_complete(self, row: dict[str, Any]) -> None:
        video = self._video(row)
        video.segments_done = min(video.segments_done + 1, video.segments or video.segments_done + 1)

    def _stage_done(self, row: dict[str, Any]) -> None:
        stage = self._stage(row)
        stage.add(row)
        if stage.first is None:
            stage.first = row["time"] - row.get("seconds", 0.0)
        stage.last = row["time"]
        if "span" not in row:  # work on a whole span is counted with the span's segments
            stage.segments += 1
            video = self._video(row)
            video.calls += 1
            video.advance(row["slot"])

    def _add(self, row: dict[str, Any]) -> None:
        self._stage(row).add(row)

    def _stage_disabled(self, row: dict[str, Any]) -> None:
        self._stage(row).disabled = row.get("reason", "unknown")

    def _actor_ready(self, row: dict[str, Any]) -> None:
        self._stage(row).ready = True

    def _video_complete(self, row: dict[str, Any]) -> None:
        video = self._end(row, "complete")
        video.seconds = row.get("seconds", 0.0)
        if row.get("lacking"):
            self.remarks.append(f"{video.name}: {video.recovered}")

    def _video_skipped(self, row: dict[str, Any]) -> None:
        self._end(row, "complete").reused = True
        self.remarks.append(f"{row['video']} is complete from an earlier run")

    def _video_failed(self, row: dict[str, Any]) -> None:
        self._end(row, "failed").reason = row.get("reason", "")
        if len(self.failures) < _MOST_FAILURES:
            self.failures.append(f"{row['video']}: {row.get('reason', '')}")

    def _end(self, row: dict[str, Any], state: str) -> VideoCount:
        """End a video: its finished work is kept as numbers, and work that it will not do no longer counts."""
        video = self._video(row)
        if self.under_way.pop(video.name, None) is not None:
            for stage in self.stages.values():
                done = video.to_do if state == "complete" else video.done_by(stage.slot)
                stage.total_over += done
                stage.done_over += done
        video.state, video.done = state, {}
        video.recovered, video.lacking = row.get("recovered") or "", row.get("lacking") or ""
        if state == "complete":
            self.complete += 1
        else:
            self.failed += 1
        return video


def _handlers() -> dict[str, Callable[[Tally, dict[str, Any]], None]]:
    """Return the method of `Tally` for each event that changes a count."""
    own = {name: method for name in EVENTS if (method := vars(Tally).get(f"_{name}")) is not None}
    return {**dict.fromkeys(named("stage_failed", "finish_done", "finish_failed", "actor_died"), Tally._add), **own}


_HANDLERS = _handlers()
