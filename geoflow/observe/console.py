"""What a person sees of a run while it runs: bars with rates and ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from geoflow.values.durations import clock

_LINE_EVERY_S = 20.0
_DRAW_EVERY_S = 0.1  # moving a bar costs more than recording the call that moved it


class ConsoleProgress:
    """Observes the ledger's events and draws them; use as a context manager."""

    def __init__(self, console: Console, num_inputs: int, num_stages: int) -> None:
        self._console, self._num_inputs, self._num_stages = console, num_inputs, num_stages
        self._live = console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("[dim]{task.fields[detail]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._frames: dict[str, int] = {}
        self._work: dict[str, float] = {}  # video -> stage calls expected
        self._done: dict[str, int] = {}
        self._over = 0
        self._drawn = 0.0
        self._began = self._last_line = time.monotonic()

    def __enter__(self) -> ConsoleProgress:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._bars.stop()

    def observe(self, row: dict[str, Any]) -> None:
        handler = getattr(self, f"_on_{row['event']}", None)
        if handler is not None:
            handler(row)

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone costs its lines, not the run
            self._console.print(text, highlight=False, soft_wrap=True)

    def _on_video_planned(self, row: dict[str, Any]) -> None:
        name = row["video"]
        self._frames[name] = row["frames"]
        self._work[name] = (row["segments"] - row["finished"]) * self._num_stages
        self._done[name] = 0
        detail = f"{row['frames']} frames, {row['segments']} segment(s)"
        if row["finished"]:
            detail += f", {row['finished']} from an earlier run"
        self._tasks[name] = self._bars.add_task(escape(name), total=self._work[name], detail=detail)

    def _on_segment_resumed(self, row: dict[str, Any]) -> None:
        self._advance(row["video"], len(row["unneeded"]))

    def _on_stage_restored(self, row: dict[str, Any]) -> None:
        self._advance(row["video"], "span" not in row)

    def _on_stage_done(self, row: dict[str, Any]) -> None:
        self._advance(row["video"], "span" not in row)

    def _advance(self, name: str, calls: int) -> None:
        self._done[name] += calls
        now = time.monotonic()
        if self._live and now - self._drawn > _DRAW_EVERY_S:
            self._drawn = now
            for video, task in self._tasks.items():
                self._bars.update(task, completed=self._done[video])
        elif not self._live and now - self._last_line > _LINE_EVERY_S:
            self._last_line = now
            self._say_how_far()

    def _say_how_far(self) -> None:
        done, work = sum(self._done.values()), sum(self._work.values())
        left = (self._last_line - self._began) * (work - done) / max(done, 1)
        names = escape(", ".join(self._work))
        self._say(f"[dim]{100 * done / work:3.0f}% of {names}, about {clock(left)} left[/]")

    def _on_video_complete(self, row: dict[str, Any]) -> None:
        rate = self._frames[row["video"]] / max(row["seconds"], 1e-9)
        self._end(
            row["video"], f"[green]complete[/] {escape(row['video'])}  {row['seconds']:.1f} s, {rate:.1f} frames/s"
        )

        self._say_recovered(row)

    def _say_recovered(self, row: dict[str, Any]) -> None:
        """What a complete video holds, under its line; in yellow where something is missing."""
        if said := row.get("recovered"):
            self._say(f"  [{'yellow' if row.get('lacking') else 'dim'}]{escape(said)}[/]")

    def _on_video_failed(self, row: dict[str, Any]) -> None:
        self._end(row["video"], f"[red]failed[/]   {escape(row['video'])}: {escape(row['reason'])}")

    def _on_video_skipped(self, row: dict[str, Any]) -> None:
        self._end(row["video"], f"[green]complete[/] {escape(row['video'])}  (from an earlier run)")
        self._say_recovered(row)

    def _on_video_noted(self, row: dict[str, Any]) -> None:
        for note in row["notes"]:
            self._say(f"[yellow]{escape(row['video'])}[/]: {escape(note)}")

    def _on_stage_disabled(self, row: dict[str, Any]) -> None:
        self._say(f"[yellow]going on without {row['slot']}[/]: {escape(row['reason'])}")

    def _on_stage_failed(self, row: dict[str, Any]) -> None:
        if row["verdict"] != "fail":
            message, *more = row["message"].splitlines() or [""]  # Ray's go on for lines; the ledger has them
            text = f"{row['slot']} failed on {row['video']} segment {row['index']} ({row['verdict']}): {message}"
            text += " …" if more else ""
            self._say(f"[yellow]{escape(text)}[/]")

    def _on_work_unsaved(self, row: dict[str, Any]) -> None:
        self._say(f"[yellow]not saved for resuming[/]: {escape(row['slot'])}: {escape(row['reason'])}")

    def _on_video_rewound(self, row: dict[str, Any]) -> None:
        self._say(f"[yellow]{escape(row['video'])} goes back to what is whole on disk[/]: {escape(row['reason'])}")

    def _on_run_stopping(self, row: dict[str, Any]) -> None:
        self._say(f"[yellow]stopping[/]: {row['running']} running call(s) may end; once more stops at once")

    def _on_actor_died(self, row: dict[str, Any]) -> None:
        self._say(f"[yellow]an actor of {row['slot']} died; replacing it[/]")

    def _end(self, name: str, line: str) -> None:
        self._over += 1
        if (task := self._tasks.pop(name, None)) is not None:
            self._bars.remove_task(task)
        self._frames.pop(name, None)
        self._work.pop(name, None)
        self._done.pop(name, None)
        count = f"[dim]({self._over}/{self._num_inputs})[/] " if self._num_inputs > 1 else ""
        self._say(count + line)
