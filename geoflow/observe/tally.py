"""The tally of a run, counted from its ledger: the one count behind console, notebook and `geoflow status`."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from geoflow.observe.counts import StageCount, VideoCount
from geoflow.observe.events import EVENTS, named
from geoflow.observe.news import news_of
from geoflow.observe.time_left import StageWork, SteadyTimeLeft, parallelism, seconds_left

_MOST_FAILURES = 20  # to name here; the result names all
_MOST_REMARKS = 5  # the latest
_MOST_SHARE = 0.99  # before the end
_CREEPS = 10.0  # times as slowly
_FOLLOWS_EVERY_S = 0.1  # an estimate takes longer than counting an event


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
        self._planned_frames = 0.0
        self._frames_over = 0.0  # finished by this run, of videos that are over
        self._left, self._share, self._followed = SteadyTimeLeft(), 0.0, -math.inf
        self._usual: dict[str, float] = {}  # slot -> seconds per segment, as earlier runs measured it
        self._weights: dict[str, float] = {}
        self._cpus = self._actors = 0
        self.doing = "reading the inputs"  # before the first call: what is waited for

    def observe(self, row: dict[str, Any]) -> None:
        """Take in one event of the ledger."""
        self.last_event = max(self.last_event, row["time"])
        if (handler := _HANDLERS.get(row["event"])) is not None:
            handler(self, row)
            if self.state == "running" and self.last_event - self._followed >= _FOLLOWS_EVERY_S:
                self._follow()
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

    def work_left(self) -> list[StageWork]:
        """Return what is still to come, by stage. A waiting input counts as the average of planned inputs."""
        waiting = max(0, self.num_inputs - self.over - len(self.under_way)) / max(self._planned, 1)
        return [self._work_of(stage, waiting) for stage in self.stages.values() if not stage.disabled]

    def _work_of(self, stage: StageCount, waiting: float) -> StageWork:
        slot = stage.slot
        segments = sum(video.to_do - video.done_by(slot) for video in self.under_way.values())
        frames = 0.0
        if stage.frames:
            frames = sum(max(0.0, v.frames_to_do - v.surveyed.get(slot, 0)) for v in self.under_way.values())
            frames += waiting * self._planned_frames
        return StageWork(
            slot,
            segments + waiting * self._planned_segments,
            stage.segments,
            stage.segment_seconds,
            frames,
            stage.frames,
            stage.survey_seconds,
            self._planned_frames / max(self._planned_segments, 1),
        )

    @property
    def first_call(self) -> float | None:
        """Return when the first call of this run began; None before one has ended."""
        return min((stage.first for stage in self.stages.values() if stage.first is not None), default=None)

    def eta(self, now: float) -> float | None:
        """Return the seconds until the end; None if not known. It runs down with the clock once calls have begun."""
        if self.state != "running" or not self._left.known:
            return None
        return self._left.at(now if self.first_call is not None else -math.inf)

    def share(self, now: float) -> float:
        """Return the share of the run's time that has passed, 0 to 1, as far as known. It never goes back."""
        if self.state == "finished":
            return 1.0
        first, begin = self.first_call, self._followed
        if first is None or self.eta(now) is None:
            return self._share
        due = self._left.due(now)
        share = max(self._passed(first, due), self._crept(self._share, first, begin, due))
        return share if due >= now else self._crept(share, first, due, now)

    def _passed(self, first: float, now: float) -> float:
        return min(_MOST_SHARE, (now - first) / max(now - first + self._left.at(now), 1e-9))

    def _crept(self, share: float, first: float, begin: float, end: float) -> float:
        """Return a share after a while in which it may only creep: more is left than it seemed."""
        whole = max(end - first + self._left.at(end), 1e-9)
        return min(_MOST_SHARE, 1.0 - (1.0 - share) * math.exp(-max(0.0, end - begin) / (_CREEPS * whole)))

    def frame_rate(self, now: float) -> float | None:
        """Return the frames per second of video that were finished since the first call; None before a segment is."""
        frames = self._frames_over + sum(video.frames_done for video in self.under_way.values())
        if not frames or self.first_call is None:
            return None
        ended = self.ended if self.ended is not None else max(now, self.last_event)
        return frames / max(ended - self.first_call, 1e-3)

    def _follow(self) -> None:
        """Estimate the time left anew, after an event."""
        self._share = self.share(self.last_event)
        self._followed, first = self.last_event, self.first_call
        by_slot = seconds_left(self.work_left(), self._usual, self._weights)
        if by_slot is None or not self._planned or (first is None and not self._cpus):
            return
        if first is None:
            self._left = SteadyTimeLeft()  # nothing is shown to run down yet
        busy = sum(stage.busy_seconds for stage in self.stages.values())
        wall = 0.0 if first is None else self.last_event - first
        able = sum(not stage.disabled for stage in self.stages.values())
        assumed = max(1.0, min(self._cpus or able, max(self._actors, able)))
        self._left.follow(sum(by_slot.values()) / parallelism(busy, wall, assumed), self.last_event)

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
        self._usual, self._weights = row.get("expected") or {}, row.get("weights") or {}
        names = row.get("videos", ())
        self.videos |= {name: VideoCount(name, self.run) for name in names}
        self._known = len(names)

    def _ray_awaited(self, row: dict[str, Any]) -> None:
        self.doing = row["ray"]

    def _ray_ready(self, row: dict[str, Any]) -> None:
        self.doing, self._cpus = "starting the stages", row["cpus"]

    def _run_stopping(self, row: dict[str, Any]) -> None:
        self._share = self.share(row["time"])
        self.state = "stopping"

    def _run_finished(self, row: dict[str, Any]) -> None:
        self.state, self.ended = "finished", row["time"]

    def _run_stopped(self, row: dict[str, Any]) -> None:
        self._share = self.share(row["time"])
        self.state, self.reason, self.ended = "stopped", row.get("reason", ""), row["time"]

    def _video_planned(self, row: dict[str, Any]) -> None:
        video = self._video(row)
        video.state, video.frames, video.segments = "running", row["frames"], row["segments"]
        video.segments_done = video.finished_before = row.get("finished", 0)
        self.under_way[video.name] = video
        self._planned += 1
        self._planned_segments += video.to_do
        self._planned_frames += video.frames_to_do

    def _video_rewound(self, row: dict[str, Any]) -> None:
        """Count the segments again that were not complete on disk."""
        video = self._video(row)
        again = video.segments_done - video.finished_before
        video.done = {slot: min(count, again) for slot, count in video.done.items()}
        video.surveyed = {}

    _video_postponed = _video_rewound

    def _segment_resumed(self, row: dict[str, Any]) -> None:
        for slot in row["unneeded"]:
            self._video(row).advance(slot)

    def _stage_restored(self, row: dict[str, Any]) -> None:
        if "ahead" in row:
            return
        if "span" not in row:
            self._video(row).advance(row["slot"])
        elif "object" not in row:
            self._video(row).survey(row["slot"], row["span"])

    def _segment_complete(self, row: dict[str, Any]) -> None:
        video = self._video(row)
        video.segments_done = min(video.segments_done + 1, video.segments or video.segments_done + 1)

    def _stage_done(self, row: dict[str, Any]) -> None:
        stage = self._stage(row)
        stage.add(row)
        if stage.first is None:
            stage.first = row["time"] - row.get("seconds", 0.0)
        stage.last, video = row["time"], self._video(row)
        self.doing = ""
        if "object" in row or "ahead" in row:  # of a segment ahead of its turn, the progress is counted in its turn
            return
        if (span := row.get("span")) is not None:  # work on a whole span is counted with the span's segments
            stage.frames += span[1] - span[0]
            stage.survey_seconds += row["seconds"]
            video.survey(row["slot"], span)
        else:
            stage.segments += 1
            stage.segment_seconds += row["seconds"]
            video.calls += 1
            video.advance(row["slot"])

    def _add(self, row: dict[str, Any]) -> None:
        self._stage(row).add(row)

    def _stage_disabled(self, row: dict[str, Any]) -> None:
        self._stage(row).disabled = row.get("reason", "unknown")

    def _actor_ready(self, row: dict[str, Any]) -> None:
        self._stage(row).ready = True
        self._actors += 1

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
            self._frames_over += video.frames_done
            for stage in self.stages.values():
                done = video.to_do if state == "complete" else video.done_by(stage.slot)
                stage.total_over += done
                stage.done_over += done
        video.state, video.done, video.surveyed = state, {}, {}
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
