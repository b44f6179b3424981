"""Commands that choose from the stores of a run: quality, select."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoflow.cli.arguments import AsJson, RunFolder, Where
from geoflow.cli.command import command
from geoflow.cli.output import error_console, print_json, result_console, stoppable

app = typer.Typer()


@command(
    app,
    'geoflow select out --where "quality > 0.6 and posed == 1" -o list.parquet',
    'geoflow select out --where "hands_visible > 0.5" --json',
    "geoflow select out --where \"video_metric and motion == 'moving'\" --of videos",
)
def select(
    out: RunFolder,
    where: Where = None,
    file: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="write the list, such as list.parquet")
    ] = None,
    kind: Annotated[
        str, typer.Option("--of", metavar="KIND", help="choose segments, or whole videos by columns of index.parquet")
    ] = "segments",
    as_json: AsJson = False,
) -> None:
    """Choose the segments of a run by what its tables say of them.

    `geoflow export OUT --select FILE` then writes these frames only. The exit status is 3 if nothing is chosen.
    """
    from geoflow.curation import select as chosen_of
    from geoflow.curation import write_selection
    from geoflow.curation.selection_table import as_values, render_selection

    found = chosen_of(out, where, kind=kind)
    if file is not None:
        write_selection(file, found)
    if as_json:
        print_json(as_values(found))
    else:
        result_console(width=120).print(render_selection(found))
    raise typer.Exit(0 if found.table.num_rows else 3)


@command(app, "geoflow quality out", "geoflow quality out --again --json")
def quality(
    out: RunFolder,
    again: Annotated[bool, typer.Option("--again", help="measure stores anew that have it already")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure the quality of stores of earlier versions.

    A run measures that of its stores by itself. It is written into the stores and into the tables of the run.
    """
    from geoflow.curation.filling import fill_quality
    from geoflow.curation.selection_table import filled_values, render_filled

    with stoppable("stopped; stores that were measured keep it"), error_console().status("measuring") as shown:
        found = fill_quality(out, again=again, seen=lambda name: shown.update(f"measured {name}"))
    if as_json:
        print_json(filled_values(found))
    else:
        result_console(width=120).print(render_filled(found))
