"""The output of commands: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from geoflow.errors import ConfigError
from geoflow.values.plain import printable

if TYPE_CHECKING:
    from rich.console import Console

    from geoflow.results import RunResult, VideoResult

_MOST_VIDEOS = 20


@contextlib.contextmanager
def stoppable(
    advice: str = "stopped; finished work is kept: run the same command again to continue",
) -> Iterator[None]:
    """Print how to continue after an interrupt. typer would only end with a status, which depends on its version."""
    try:
        with result_alone():
            yield
    except KeyboardInterrupt:
        print(advice, file=sys.stderr)
        raise typer.Exit(130) from None


def result_alone() -> contextlib.AbstractContextManager[Any]:
    """Send all other output, such as Ray's own notices, to stderr: stdout is for the result."""
    return contextlib.redirect_stdout(sys.stderr)


def announce(inputs: Sequence[str], out: object) -> None:
    """Say on a terminal what is begun, before anything that takes time is imported."""
    if not sys.stderr.isatty():
        return
    more = f" and {len(inputs) - 1} more" if len(inputs) > 1 else ""
    print(f"geoflow: {printable(str(inputs[0]))}{more} into {printable(str(out))}", file=sys.stderr, flush=True)


def end(result: RunResult, data: dict[str, Any], as_json: bool, *, report: bool = True) -> NoReturn:
    """Print how a run ended, and what to do next (`report`: also to write a report); exit with the run's status."""
    if as_json:
        print_json(data)
        raise typer.Exit(result.exit_status)
    left = f", {len(result.unfit)} unfit and left out" if result.unfit else ""
    print(f"{len(result.complete)} complete, {len(result.failed)} failed{left}: {result.out}")
    shown = sys.stdout.isatty() and sys.stderr.isatty()  # by the progress display, a few lines above
    if len(result.videos) > 1 or not shown:
        _print_recovered(result.complete)
    if steps := next_steps(result, report=report):
        print("next: " + "\n      ".join(steps))
    raise typer.Exit(result.exit_status)


def _print_recovered(videos: Sequence[VideoResult]) -> None:
    """Print what complete videos hold; of many, those that lack something come first."""
    ordered = sorted(videos, key=lambda video: not video.lacking)
    for video in ordered[:_MOST_VIDEOS]:
        print(f"  {video.name}: {video.recovered}")
    if len(videos) > _MOST_VIDEOS:
        lacking = sum(bool(video.lacking) for video in ordered[_MOST_VIDEOS:])
        also = f", {lacking} of which lack something" if lacking else ""
        print(f"  and {len(videos) - _MOST_VIDEOS} more{also}: the column `recovered` of index.parquet says what")


def next_steps(result: RunResult, *, report: bool = True) -> list[str]:
    """Return the commands that show what a run made."""
    if not result.complete:
        return []
    steps = [f"geoflow report {shlex.quote(result.out)}"] if report else []
    file = shlex.quote(result.complete[0].path)
    can_view = importlib.util.find_spec("rerun") is not None
    return [*steps, f"geoflow view {file}" if can_view else f"geoflow info {file}"]


def confirm(question: str, otherwise: str) -> None:
    """Ask at the terminal; end without doing anything unless the answer is yes. Without a terminal, raise ConfigError
    that says what to do `otherwise`."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(f"there is no terminal to ask at; {otherwise}")
    if not typer.confirm(question, err=True):
        raise typer.Exit()


def open_page(page: Path | str) -> None:
    """Open a page in the user's browser, or say on stderr why it is not shown. Remote pages are not downloaded."""
    import webbrowser

    if not isinstance(page, Path):
        print(f"--open: {page} is in a bucket; copy it from there to look at it", file=sys.stderr)
    elif not webbrowser.open(page.resolve().as_uri()):
        print(f"--open: no browser was found on this machine; open {page} in one", file=sys.stderr)


def print_json(data: Any) -> None:
    print(json.dumps(data, default=str))


def error_console() -> Console:
    from rich.console import Console

    return Console(file=sys.stderr)


def result_console(width: int | None = None) -> Console:
    """Return the console for results; `width` is for a file or a pipe, which has no width."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else width)
