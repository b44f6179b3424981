"""`geoflow status`: the progress of a run, from its ledger alone; also while it runs, and after it was killed."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from geoflow.errors import InputError
from geoflow.observe.counts import StageCount, VideoCount
from geoflow.observe.events import iter_events
from geoflow.observe.tally import Tally
from geoflow.store.mirror import records
from geoflow.store.owner import describe_owner
from geoflow.values.durations import clock

# The contents of the answer, by the names of the tally.
_OF_RUN = ("state", "reason", "pipeline", "run", "began", "last_event")
_OF_STAGE = ("slot", "calls", "busy_seconds", "failures", "restarts", "disabled")
_OF_VIDEO = (
    *("name", "state", "reason", "frames", "segments", "segments_done", "calls"),
    *("seconds", "reused", "run", "recovered", "lacking"),
)
_STATES = ("complete", "failed", "running", "interrupted", "waiting")
_MOST_COMPLETE = 20  # complete videos without news to name on the console; all videos with news are named


def read_status(out: str | os.PathLike[str], now: float | None = None) -> dict[str, Any]:
    """Return the status of a run's folder or URI as plain values; `owner` is the folder's present owner, see
    `describe_owner`.

    Raises InputError if no run has written there.
    """
    with records(out, ["events.jsonl"]) as paths:
        if not paths.events.is_file():
            raise InputError(
                f"{out} holds no {paths.events.name}: no run has written there; name the folder given to `run -o`"
            )
        tally = fold(iter_events(paths.events), is_alive)
        owner = describe_owner(paths)
    now = time.time() if now is None else now
    elapsed = tally.elapsed(now)
    stages = [
        {**_chosen(stage, _OF_STAGE), "calls_per_second": stage.calls / elapsed if elapsed else 0.0}
        for stage in tally.stages.values()
    ]
    return {
        **_chosen(tally, _OF_RUN),
        "owner": owner,
        "elapsed": elapsed,
        "eta": tally.eta(now),
        "share": tally.share(now),
        "frames_per_second": tally.frame_rate(now),
        "doing": tally.doing if tally.goes_on else "",
        "counts": {state: tally.count(state) for state in _STATES},
        "stages": stages,
        "videos": [_chosen(video, _OF_VIDEO) for video in tally.videos.values()],
    }


def _chosen(counted: Tally | StageCount | VideoCount, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(counted, name) for name in names}


def fold(events: Iterable[dict[str, Any]], alive: Callable[[str, int], bool | None]) -> Tally:
    """Add up the events of all runs into a folder. `alive(host, pid)` is None if that cannot be known.

    The state is the state of the latest run: running, stopping, finished, stopped, killed, or unknown if the ledger
    lacks the beginning of the run.
    """
    tally = Tally()
    for row in events:
        tally.observe(row)
    if not tally.run:
        tally.state, tally.began = "unknown", tally.last_event
    elif tally.goes_on and alive(tally.host, tally.pid) is False:
        tally.state = "killed"
    if not tally.goes_on:
        tally.interrupt()
    return tally


def is_alive(host: str, pid: int) -> bool | None:
    """Return whether a process of this machine still runs; None for a process on another machine."""
    if host != socket.gethostname() or pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process, so it exists
        return True
    return True


def render_status(status: dict[str, Any]) -> Any:
    """Return the status as lines and two tables for the console."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    counts = ", ".join(f"{count} {state}" for state, count in status["counts"].items() if count)
    head = f"run {status['run']} of pipeline {status['pipeline']}: [bold]{status['state']}[/]"
    head += f" after {clock(status['elapsed'])}"
    if status["state"] in ("running", "stopping"):
        head += f", {status['doing'] or format(status['share'], '.0%')}"
        head += f", {rate:.1f} frames/s" if (rate := status["frames_per_second"]) else ""
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
