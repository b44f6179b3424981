"""The command line. It uses only the library. Exit status: 0, 1 (a bug), 2 (usage), 3 (some inputs failed), 130."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from geoflow.cli import (
    benches,
    comparisons,
    curating,
    network_benches,
    result_benches,
    running,
    scans,
    scoring,
    setting_up,
    stores,
)
from geoflow.cli.command import examples
from geoflow.errors import ConfigError, EnvironmentBroken, GeoFlowError, InputError

_STATUSES = """\b
Exit status:
  0    everything is done
  1    a bug; please report the traceback
  2    wrong usage or configuration; nothing was started
  3    finished, but some inputs failed, or a check found something wrong
  130  stopped by Ctrl-C; the same command continues

"""

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,  # its boxes leave half of 80 columns for words
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
for part in (running, scans, stores, curating, scoring, comparisons, setting_up):
    app.add_typer(part.app)
for part in (result_benches, network_benches):
    benches.app.add_typer(part.app)
app.add_typer(benches.app, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        from geoflow.values.version import VERSION

        print(f"geoflow {VERSION}")
        raise typer.Exit()


@app.callback(epilog=_STATUSES + examples("geoflow demo", "geoflow run clip.mp4 -o out", "geoflow run -h"))
def geoflow(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Turn videos into 3D training data: depth, camera poses, tracks and hands.

    The first steps: `geoflow doctor` looks at this machine, `geoflow demo` tries everything on a made-up clip, and
    `geoflow run` processes your videos. `geoflow COMMAND -h` explains a command.
    """


def main() -> NoReturn:
    """Run the command line. Expected errors become one line and an exit status, never a traceback."""
    try:
        app(prog_name="geoflow")
    except (ConfigError, InputError, EnvironmentBroken) as error:
        _complain(error, 2)
    except GeoFlowError as error:
        _complain(error, 3)
    raise SystemExit(0)


def _complain(error: Exception, status: int) -> NoReturn:
    print(f"geoflow: {error}", file=sys.stderr)
    raise SystemExit(status)
