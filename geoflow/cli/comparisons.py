"""The command that puts two stores, or two runs, side by side: compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoflow.cli.arguments import AsJson
from geoflow.cli.command import command
from geoflow.cli.output import print_json, result_alone, result_console

app = typer.Typer()


@command(
    app,
    "geoflow compare before/videos/clip.h5 after/videos/clip.h5 --gt clip.gt.h5",
    "geoflow compare before after --html compare.html",
)
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="a store, OUT/videos/<name>.h5, or a run's folder")],
    b: Annotated[str, typer.Argument(metavar="B", help="another store, or another run's folder")],
    gt: Annotated[
        Path | None,
        typer.Option(
            "--gt", metavar="FILE|DIR", help="ground truth; for runs, a folder with <name>.gt.h5 of the videos"
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="write a page with the depth of both at the same frames"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show two stores, or two runs, side by side.

    It lists the settings that differ, what each holds, and scores. Without --gt, the scores say how far A is from B;
    which of the two is right, they do not say.
    """
    from geoflow.comparison import compare as compare_both

    with result_alone():
        found = compare_both(a, b, gt=gt)
        written = None if html is None else found.write_html(html)
    if as_json:
        print_json({**found.to_dict(), **({} if written is None else {"html": str(written)})})
        return
    result_console(width=140).print(found)
    if written is not None:
        print(written)
