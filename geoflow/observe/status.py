"""`geoflow status`: where a run stands, from its ledger alone; also while it goes on, and after it was killed."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from geoflow.errors import InputError
from geoflow.observe.ledger import iter_events
from geoflow.store.mirror import records
from geoflow.store.owner import describe_owner
from geoflow.values.durations import clock

_MOST_COMPLETE = 20  # complete videos that lack nothing named on the console; those with news are all named


@dataclass
class VideoStatus:
    """One input: `waiting` (not looked at yet), `running`, `complete`, `failed`, or `interrupted` in an earlier run."""

    name: str
    state: str = "waiting"
    reason: str = ""
    frames: int = 0
    segments: int = 0
    segments_done: int = 0
    calls: int = 0  # of all stages together
    seconds: float = 0.0
    reused: bool = False  # complete from an earlier run
    run: int = 0  # the last run that met it
    recovered: str = ""  # of a complete one: what was recovered, and what was not and why
    lacking: str = ""  # what of it is missing in all or in part


@dataclass
class StageStatus:
    slot: str
    calls: int = 0
    busy_seconds: float = 0.0
    failures: int = 0
    restarts: int = 0
    disabled: str = ""  # why it cannot run


@dataclass
class RunStatus:
    """The latest run into a folder, and every video that any run into it has met."""

    state: str = "unknown"  # running, finished, stopped, killed, unknown
    pipeline: str = ""
    run: int = 0  # how many runs into this folder there have been
    began: float = 0.0  # s since the epoch, as `last_event`
    last_event: float = 0.0
    reason: str = ""  # of stopping
    host: str = ""
    pid: int = 0
    videos: dict[str, VideoStatus] = field(default_factory=dict)
    stages: dict[str, StageStatus] = field(default_factory=dict)

    def count(self, state: str) -> int:
        return sum(video.state == state for video in self.videos.values())

    def elapsed(self, now: float) -> float:
        ended = max(now, self.last_event) if self.state == "running" else self.last_event
        return max(0.0, ended - self.began)

    def eta(self, now: float) -> float | None:
        """Seconds that the rest should take at the rate so far; None when nothing can be said.

        Work is counted in segments. Videos not looked at yet count as much as those planned do on average.
        """
        planned = [video for video in self.videos.values() if video.segments and video.run == self.run]
        able = max(1, sum(not stage.disabled for stage in self.stages.values()))
        done = sum(max(float(video.segments_done), video.calls / able) for video in planned)
        if self.state != "running" or not done:
            return None
        running = [video for video in planned if video.state == "running"]
        left = sum(video.segments - max(float(video.segments_done), video.calls / able) for video in running)
        mean = sum(video.segments for video in planned) / len(planned)
        return self.elapsed(now) * max(0.0, left + mean * self.count("waiting")) / done


def read_status(out: str | os.PathLike[str], now: float | None = None) -> dict[str, Any]:
    """The status of a run's folder, or URI, as plain values; `owner` is who has the folder now, see `describe_owner`.

    Raises InputError when no run ever wrote there.
    """
    with records(out, ["events.jsonl"]) as paths:
        if not paths.events.is_file():
            raise InputError(
                f"{out} holds no {paths.events.name}: no run has written there; name the folder given to `run -o`"
            )
        status = fold(iter_events(paths.events), is_alive)
        owner = describe_owner(paths)
    now = time.time() if now is None else now
    elapsed = status.elapsed(now)
    stages = [
        {**asdict(stage), "calls_per_second": stage.calls / elapsed if elapsed else 0.0}
        for stage in status.stages.values()
    ]
    videos = [asdict(video) for video in status.videos.values()]
    states = {state: status.count(state) for state in ("complete", "failed", "running", "interrupted", "waiting")}
    own = {key: getattr(status, key) for key in ("state", "reason", "pipeline", "run", "began", "last_event")}
    return {
        **own,
        "owner": owner,
        "elapsed": elapsed,
        "eta": status.eta(now),
        "counts": states,
        "stages": stages,
        "videos": videos,
    }


def fold(events: Iterable[dict[str, Any]], alive: Callable[[str, int], bool | None]) -> RunStatus:
    """Add up the events of all runs into a folder; `alive(host, pid)` is None where nobody can know."""
    status = RunStatus()
    for row in events:
        status.last_event = row["time"]
        if (handler := _HANDLERS.get(row["event"])) is not None:
            handler(status, row)
    if status.state == "running" and alive(status.host, status.pid) is False:
        status.state = "killed"
    if status.state not in ("running", "unknown"):
        _interrupt(status)
    return status


def is_alive(host: str, pid: int) -> bool | None:
    """Whether a process of this machine still runs; None for one elsewhere."""
    if host != socket.gethostname() or pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process, so it exists
        return True
    return True


def _interrupt(status: RunStatus) -> None:
    for video in status.videos.values():
        if video.state == "running":
            video.state = "interrupted"


def _run_started(status: RunStatus, row: dict[str, Any]) -> None:
    _interrupt(status)
    status.run += 1
    status.state, status.reason, status.pipeline = "running", "", row.get("pipeline", "")
    status.began, status.host, status.pid = row["time"], row.get("host", ""), row.get("pid", 0)
    status.stages = {slot: StageStatus(slot) for slot in row.get("slots", ())}
    for name in row.get("videos", ()):
        status.videos[name] = VideoStatus(name, run=status.run)


def _run_finished(status: RunStatus, row: dict[str, Any]) -> None:
    status.state = "finished"


def _run_stopped(status: RunStatus, row: dict[str, Any]) -> None:
    status.state, status.reason = "stopped", row.get("reason", "")


def _video_planned(status: RunStatus, row: dict[str, Any]) -> None:
    video = _video(status, row)
    video.state, video.frames, video.segments = "running", row["frames"], row["segments"]


def _video_complete(status: RunStatus, row: dict[str, Any]) -> None:
    video = _video(status, row)
    video.state, video.seconds = "complete", row.get("seconds", 0.0)
    video.recovered, video.lacking = row.get("recovered", ""), row.get("lacking", "")


def _video_skipped(status: RunStatus, row: dict[str, Any]) -> None:
    video = _video(status, row)
    video.state, video.reused = "complete", True
    video.recovered, video.lacking = row.get("recovered", ""), row.get("lacking", "")


def _video_failed(status: RunStatus, row: dict[str, Any]) -> None:
    video = _video(status, row)
    video.state, video.reason = "failed", row.get("reason", "")


def _segment_complete(status: RunStatus, row: dict[str, Any]) -> None:
    _video(status, row).segments_done += 1


def _stage_done(status: RunStatus, row: dict[str, Any]) -> None:
    _video(status, row).calls += "span" not in row  # progress goes by segments
    stage = _stage(status, row)
    stage.calls += 1
    stage.busy_seconds += row.get("seconds", 0.0)


def _stage_failed(status: RunStatus, row: dict[str, Any]) -> None:
    stage = _stage(status, row)
    stage.failures += 1
    stage.busy_seconds += row.get("seconds", 0.0)


def _stage_disabled(status: RunStatus, row: dict[str, Any]) -> None:
    _stage(status, row).disabled = row.get("reason", "unknown")


def _actor_died(status: RunStatus, row: dict[str, Any]) -> None:
    _stage(status, row).restarts += 1


def _video(status: RunStatus, row: dict[str, Any]) -> VideoStatus:
    return status.videos.setdefault(row["video"], VideoStatus(row["video"], run=status.run))


def _stage(status: RunStatus, row: dict[str, Any]) -> StageStatus:
    return status.stages.setdefault(row["slot"], StageStatus(row["slot"]))


_HANDLERS: dict[str, Callable[[RunStatus, dict[str, Any]], None]] = {
    handler.__name__.removeprefix("_"): handler
    for handler in (
        _run_started,
        _run_finished,
        _run_stopped,
        _video_planned,
        _video_complete,
        _video_skipped,
        _video_failed,
        _segment_complete,
        _stage_done,
        _stage_failed,
        _stage_disabled,
        _actor_died,
    )
}


def render_status(status: dict[str, Any]) -> Any:
    """The status as lines and two tables for the console."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    counts = ", ".join(f"{count} {state}" for state, count in status["counts"].items() if count)
    head = f"run {status['run']} of pipeline {status['pipeline']}: [bold]{status['state']}[/]"
    head += f" after {clock(status['elapsed'])}"
    head += f", about {clock(status['eta'])} left" if status["eta"] is not None else ""
    head += f"  [red]{escape(status['reason'])}[/]" if status["reason"] else ""
    if (owner := status.get("owner")) is not None:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner["since"]))
        head += f"\nowned by process {owner['pid']} on {escape(owner['host'])} since {since}"
    videos = Table("video", "state", "segments", "what was recovered, or why not", box=None)
    complete = [row for row in status["videos"] if row["state"] == "complete" and not row["lacking"]]
    hidden = {row["name"] for row in complete[:-_MOST_COMPLETE]}
    for row in status["videos"]:
        if row["state"] == "waiting" or row["name"] in hidden:
            continue
        done = f"{row['segments_done']} of {row['segments']}" if row["segments"] else "-"
        said = escape(row["recovered"] if row["state"] == "complete" else row["reason"])
        said = f"[yellow]{said}[/]" if row["lacking"] else said
        videos.add_row(escape(row["name"]), _STYLED.get(row["state"], row["state"]), done, said)
    stages = Table("stage", "calls", "calls/s", "mean s", "failures", "restarts", "", box=None)
    for row in status["stages"]:
        mean = f"{row['busy_seconds'] / row['calls']:.2f}" if row["calls"] else "-"
        numbers = [
            str(row["calls"]),
            f"{row['calls_per_second']:.2f}",
            mean,
            str(row["failures"]),
            str(row["restarts"]),
        ]
        stages.add_row(row["slot"], *numbers, escape(f"cannot run: {row['disabled']}" if row["disabled"] else ""))
    return Group(head, counts, "", stages, "", videos)


_STYLED = {"complete": "[green]complete[/]", "failed": "[red]failed[/]", "interrupted": "[yellow]interrupted[/]"}
