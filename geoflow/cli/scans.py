"""The command that looks at inputs before a run: scan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoflow.cli.arguments import AsJson, Fit, Inputs, Pattern, Stream, settings_of
from geoflow.cli.command import command
from geoflow.cli.output import error_console, print_json, result_console, stoppable

app = typer.Typer()


@command(
    app,
    "geoflow scan videos/",
    "geoflow scan videos/ -o scan.parquet --fit blur=0.8 --fit refuse=dark,still",
)
def scan(
    inputs: Inputs,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="write a table, such as scan.parquet")
    ] = None,
    fit: Fit = None,
    stream: Stream = None,
    pattern: Pattern = None,
    as_json: AsJson = False,
) -> None:
    """Say which videos are worth a run, in seconds per video.

    It needs no model and no Ray. It finds what is broken, dark, overexposed, blurred, bare, cut, filmed by a camera at
    rest, or a duplicate. The exit status is 3 if an input is unfit.
    """
    from geoflow.scanning import ScanParams, scan_inputs
    from geoflow.scanning.scan_table import as_values, checked_name, render_scan, write_scan

    params = ScanParams.of(settings_of(fit, "NAME=VALUE", "--fit"))
    if out is not None:
        checked_name(out)
    with stoppable("stopped; nothing was written"), error_console().status("scanning") as shown:
        videos = scan_inputs(
            inputs,
            vars(params),
            stream=stream,
            pattern=pattern,
            seen=lambda name: shown.update(f"scanned {name}"),
        )
        if out is not None:
            write_scan(out, videos)
    found = as_values(videos, params)
    if as_json:
        print_json(found)
    else:
        result_console(width=120).print(render_scan(videos))
    raise typer.Exit(3 if found["unfit"] else 0)
