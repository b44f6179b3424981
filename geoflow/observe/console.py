"""The console's display of a run: bars with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from geoflow.observe.board import Board, board_of
from geoflow.observe.clock import SteadyClock
from geoflow.observe.news import news_of
from geoflow.observe.tally import Tally
from geoflow.values.durations import clock

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_LINE_EVERY_S = 20.0
_DRAWS_PER_S = 4.0  # in a thread of its own: the driver need not wait, and calls may take minutes
_BAR_WIDTH = 24  # columns
_MARGIN = 4  # columns; a terminal echoes ^C after the last line, and must not begin another line for it
_NARROW = 100  # columns: with fewer, bars are shorter
_NARROW_BAR_WIDTH = 14
_STYLES = {"done": "green", "left out": "dim", "starting": "dim", "waiting": "dim"}


class ConsoleProgress:
    """Observes the ledger's events and draws them; use as a context manager."""

    def __init__(self, console: Console, num_inputs: int) -> None:
        self._console = console
        self._now = SteadyClock()  # the same kind of clock as the ledger's
        self._tally = Tally(num_inputs, self._now())
        self._counting = threading.Lock()
        self._live: Live | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> ConsoleProgress:
        if self._console.is_terminal:
            self._live = live_display(self._console, self._drawn)
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live is not None:
            with contextlib.suppress(OSError):
                self._live.stop()

    def observe(self, row: dict[str, Any]) -> None:
        """Take in one event of the ledger and show what it changes."""
        with self._counting:
            self._tally.observe(row)
        if (show := getattr(self, f"_on_{row['event']}", None)) is not None:
            show(row)
        for news in news_of(row):
            self._say(f"[yellow]{escape(news.head)}[/]" + (f": {escape(news.details)}" if news.details else ""))
        now = time.monotonic()
        if self._live is None and now - self._last_line > _LINE_EVERY_S:
            self._last_line = now
            self._say(f"[dim]{escape(self.how_far())}[/]")

    def how_far(self) -> str:
        """Return the progress of the run in one line."""
        return in_a_line(self._board())

    def _board(self) -> Board:
        with self._counting:
            return board_of(self._tally, self._now())

    def _drawn(self) -> RenderableType:
        return render_board(self._board(), self._console.width)

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # without a terminal the lines are lost, but the run continues
            self._console.print(text, highlight=False, soft_wrap=True)

    def _on_ray_awaited(self, row: dict[str, Any]) -> None:
        if self._live is None:
            self._say(f"[dim]{escape(row['ray'])}[/]")

    def _on_video_complete(self, row: dict[str, Any]) -> None:
        video = self._tally.videos[row["video"]]
        rate = video.frames / max(video.seconds, 1e-9)
        self._end(f"[green]complete[/] {escape(video.name)}  {video.seconds:.1f} s, {rate:.1f} frames/s")
        self._say_recovered(row)

    def _say_recovered(self, row: dict[str, Any]) -> None:
        """Print what a complete video holds, under its line; in yellow if something is missing."""
        if said := row.get("recovered"):
            self._say(f"  [{'yellow' if row.get('lacking') else 'dim'}]{escape(said)}[/]")

    def _on_video_failed(self, row: dict[str, Any]) -> None:
        self._end(f"[red]failed[/]   {escape(row['video'])}: {escape(row['reason'])}")

    def _on_video_skipped(self, row: dict[str, Any]) -> None:
        self._end(f"[green]complete[/] {escape(row['video'])}  (from an earlier run)")
        self._say_recovered(row)

    def _end(self, line: str) -> None:
        tally = self._tally
        self._say((f"[dim]({tally.over}/{tally.num_inputs})[/] " if tally.num_inputs > 1 else "") + line)


def in_a_line(board: Board) -> str:
    """Return how far a run is, for a job's output: share, what is worked on, rate, time left, the stages at work.

    >>> from geoflow.observe.board import StageBar
    >>> in_a_line(Board("running", 65.0, 12.4, 1, 0, 0, (StageBar("camera", 1, 3, "working"),), (), (), share=0.8))
    ' 80%, 1 video, about 0:00:12 left: camera 1 of 3'
    """
    at_work = [f"{bar.slot} {bar.done} of {bar.total}" for bar in board.stages if bar.state == "working"]
    what = f"{board.doing}: " if board.doing else ""
    stages = f": {', '.join(at_work)}" if at_work else ""
    return f"{what}{100 * board.share:3.0f}%, {board.subject}{board.pace}{stages}"


def live_display(console: Console, draw: Any) -> Live:
    """Return a display that calls `draw` again and again until it is stopped, and then leaves nothing behind."""
    from rich.live import Live

    return Live(
        console=console,
        get_renderable=draw,
        refresh_per_second=_DRAWS_PER_S,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def render_board(board: Board, width: int) -> RenderableType:
    """Return the run's bar with the time left, and a line per stage below it, for a console of `width` columns."""
    bar_width = _BAR_WIDTH if width >= _NARROW else _NARROW_BAR_WIDTH
    table = Table.grid(padding=(0, 1))
    for column in ("name", "bar", "share", "detail"):
        table.add_column(no_wrap=True, overflow="ellipsis", justify="right" if column == "share" else "left")
    table.columns[2].min_width = len("100%")
    table.columns[3].ratio = 1
    table.width = width = width - _MARGIN
    table.add_row(
        Text("all", "bold"),
        ProgressBar(1.0, board.share, width=bar_width),
        f"{100 * board.share:.0f}%",
        Text(f"{clock(board.elapsed_s)}{board.pace}", "bold"),
    )
    for bar in board.stages:
        style = _STYLES.get(bar.state, "")
        table.add_row(
            Text(bar.slot, style),
            ProgressBar(1.0, bar.share, width=bar_width, complete_style=_STYLES.get(bar.state) or "bar.complete"),
            f"{100 * bar.share:.0f}%",
            Text(bar.detail, style or "dim"),
        )
    state = "stopping, " if board.state == "stopping" else ""
    head = f"{state}{board.doing + ', ' if board.doing else ''}{board.subject}"
    line = Text(head)
    line.truncate(width, overflow="ellipsis")
    return Group(line, table)
