"""The command line. It uses only the library. Exit status: 0, 1 (a bug), 2 (usage), 3 (some inputs failed)."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from geoflow.cli import benches, comparisons, running, scoring, setting_up, stores
from geoflow.errors import ConfigError, EnvironmentBroken, GeoFlowError, InputError

app = typer.Typer(
    help="Turn videos into 3D training data: depth, camera poses, tracks and hands.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for part in (running, stores, scoring, comparisons, setting_up):
    app.add_typer(part.app)
app.add_typer(benches.app, name="bench")


def main() -> NoReturn:
    """Run the command line. Expected errors become one line and an exit status, never a traceback."""
    try:
        app(standalone_mode=True)
    except (ConfigError, InputError, EnvironmentBroken) as error:
        _complain(error, 2)
    except GeoFlowError as error:
        _complain(error, 3)
    raise SystemExit(0)


def _complain(error: Exception, status: int) -> NoReturn:
    print(f"geoflow: {error}", file=sys.stderr)
    raise SystemExit(status)
