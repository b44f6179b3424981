"""The output of commands: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from geoflow.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from geoflow.results import RunResult, VideoResult

_MOST_LACKING = 20  # videos


@contextlib.contextmanager
def stoppable(
    advice: str = "stopped; finished work is kept: run the same command again to continue from there",
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


def end(result: RunResult, data: dict[str, Any], as_json: bool) -> NoReturn:
    if as_json:
        print_json(data)
    else:
        print(f"{len(result.complete)} complete, {len(result.failed)} failed: {result.out}")
        _print_lacking([video for video in result.complete if video.lacking])
    raise typer.Exit(result.exit_status)


def _print_lacking(videos: Sequence[VideoResult]) -> None:
    """Name complete videos that lack something; for the first of them, print what they hold and why."""
    if videos:
        print(f"of the complete videos, {len(videos)} lack something:")
    for video in videos[:_MOST_LACKING]:
        print(f"  {video.name}: {video.recovered}")
    if len(videos) > _MOST_LACKING:
        print(f"  and {len(videos) - _MOST_LACKING} more: the column `recovered` of index.parquet says what")


def confirm(question: str, otherwise: str) -> None:
    """Ask at the terminal; end without doing anything unless the answer is yes. Without a terminal, raise ConfigError
    that says what to do `otherwise`."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(f"there is no terminal to ask at; {otherwise}")
    if not typer.confirm(question, err=True):
        raise typer.Exit()


def print_json(data: Any) -> None:
    print(json.dumps(data, default=str))


def error_console() -> Console:
    from rich.console import Console

    return Console(file=sys.stderr)


def result_console(width: int | None = None) -> Console:
    """Return the console for results; `width` is for a file or a pipe, which has no width."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else width)
