"""The console's display of a run: bars with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from geoflow.observe.clock import SteadyClock
from geoflow.observe.counts import VideoCount
from geoflow.observe.news import news_of
from geoflow.observe.tally import Tally
from geoflow.values.durations import clock

_LINE_EVERY_S = 20.0
_DRAW_EVERY_S = 0.1  # moving a bar costs more than recording the call that moved it
_ALL = ""  # the key of the bar for all videos together
_MOST_NAMES = 5  # of videos under way in one line


class ConsoleProgress:
    """Observes the ledger's events and draws them; use as a context manager."""

    def __init__(self, console: Console, num_inputs: int) -> None:
        self._console = console
        self._live = console.is_terminal
        self._now = SteadyClock()  # the same kind of clock as the ledger's
        self._tally = Tally(num_inputs, self._now())
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("[dim]{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}  # by video
        self._drawn = 0.0
        self._last_line = time.monotonic()

    def __enter__(self) -> ConsoleProgress:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._bars.stop()

    def observe(self, row: dict[str, Any]) -> None:
        """Take in one event of the ledger and show what it changes."""
        self._tally.observe(row)
        if (show := getattr(self, f"_on_{row['event']}", None)) is not None:
            show(row)
        for news in news_of(row):
            self._say(f"[yellow]{escape(news.head)}[/]" + (f": {escape(news.details)}" if news.details else ""))

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # without a terminal the lines are lost, but the run continues
            self._console.print(text, highlight=False, soft_wrap=True)

    def _on_video_planned(self, row: dict[str, Any]) -> None:
        if self._tally.num_inputs > 1 and _ALL not in self._tasks:
            self._tasks[_ALL] = self._bars.add_task("all videos", total=1.0, detail="")
        self._tasks[row["video"]] = self._bars.add_task(escape(row["video"]), total=1.0, detail="")
        self._draw()

    def _on_segment_resumed(self, row: dict[str, Any]) -> None:
        self._advance()

    def _on_stage_restored(self, row: dict[str, Any]) -> None:
        self._advance()

    def _on_stage_done(self, row: dict[str, Any]) -> None:
        self._advance()

    def _advance(self) -> None:
        now = time.monotonic()
        if self._live and now - self._drawn > _DRAW_EVERY_S:
            self._draw()
        elif not self._live and now - self._last_line > _LINE_EVERY_S:
            self._last_line = now
            self._say(f"[dim]{escape(self.how_far())}[/]")

    def how_far(self) -> str:
        """Return the progress of the run in one line."""
        names = list(self._tally.under_way)
        listed = ", ".join(names[:_MOST_NAMES])
        listed += f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        of = listed if self._tally.num_inputs == 1 else f"{self._tally.num_inputs} videos ({listed})"
        return f"{100 * self._tally.share():3.0f}% of {of}{self._time_left()}"

    def _time_left(self) -> str:
        eta = self._tally.eta(self._now())
        return f", about {clock(eta)} left" if eta is not None else ""

    def _draw(self) -> None:
        """Move the bars. The time left is beside the bar of all videos, or beside the bar of a single video."""
        self._drawn, tally, left = time.monotonic(), self._tally, self._time_left()
        if (task := self._tasks.get(_ALL)) is not None:
            self._bars.update(task, completed=tally.share(), detail=f"{tally.over} of {tally.num_inputs} videos{left}")
            left = ""
        for name, video in tally.under_way.items():
            self._bars.update(self._tasks[name], completed=tally.share_of(video), detail=_size(video) + left)

    def _on_video_complete(self, row: dict[str, Any]) -> None:
        video = self._tally.videos[row["video"]]
        rate = video.frames / max(video.seconds, 1e-9)
        self._end(video.name, f"[green]complete[/] {escape(video.name)}  {video.seconds:.1f} s, {rate:.1f} frames/s")
        self._say_recovered(row)

    def _say_recovered(self, row: dict[str, Any]) -> None:
        """Print what a complete video holds, under its line; in yellow if something is missing."""
        if said := row.get("recovered"):
            self._say(f"  [{'yellow' if row.get('lacking') else 'dim'}]{escape(said)}[/]")

    def _on_video_failed(self, row: dict[str, Any]) -> None:
        self._end(row["video"], f"[red]failed[/]   {escape(row['video'])}: {escape(row['reason'])}")

    def _on_video_skipped(self, row: dict[str, Any]) -> None:
        self._end(row["video"], f"[green]complete[/] {escape(row['video'])}  (from an earlier run)")
        self._say_recovered(row)

    def _end(self, name: str, line: str) -> None:
        if (task := self._tasks.pop(name, None)) is not None:
            self._bars.remove_task(task)
        tally = self._tally
        self._say((f"[dim]({tally.over}/{tally.num_inputs})[/] " if tally.num_inputs > 1 else "") + line)


def _size(video: VideoCount) -> str:
    before = f", {video.finished_before} from an earlier run" if video.finished_before else ""
    return f"{video.frames} frames, {video.segments} segment(s){before}"
