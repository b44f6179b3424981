"""Commands about the results of a run, also while it runs: status, info, verify, report, export, view."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from geoflow.cli.arguments import Address, AsJson, Chosen, RunFolder, Store, Where, settings_of
from geoflow.cli.command import command
from geoflow.cli.completion import formats
from geoflow.cli.output import error_console, open_page, print_json, result_alone, result_console, stoppable
from geoflow.errors import ConfigError

app = typer.Typer()


@command(app, "geoflow status out", "geoflow status out --watch", "geoflow status s3://bucket/out --json")
def status(
    out: RunFolder,
    watch: Annotated[bool, typer.Option("--watch", help="show it again and again until the run ends")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a run is, also while it runs.

    It lists videos, stages and the time left.
    """
    from geoflow.observe.status import read_status, render_status

    found = read_status(out)
    if watch:
        from geoflow.observe.watching import watch_run

        with stoppable("watched no longer; the run goes on"):
            watch_run(out, error_console())
        found = read_status(out)
    if as_json:
        print_json(found)
    else:
        result_console().print(render_status(found))


@command(app, "geoflow info out/videos/clip.h5", "geoflow info out/videos/clip.h5 --json")
def info(file: Store, as_json: AsJson = False) -> None:
    """Show what a store holds."""
    from geoflow.store.info import describe, render
    from geoflow.store.reader import open_video

    with open_video(file) as video:
        summary = describe(video)
    if as_json:
        print_json(summary)
    else:
        result_console().print(render(summary))


@command(app, "geoflow verify out", "geoflow verify out/videos/clip.h5 --quick")
def verify(
    out: Annotated[str, typer.Argument(metavar="OUT|FILE", help="a run's folder, or one store")],
    quick: Annotated[bool, typer.Option("--quick", help="check only names, types, shapes and attributes")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that a run's stores are there, whole and as promised.

    The exit status is 3 if they are not. Sources that were replaced since then, or are gone, are noted.
    """
    from geoflow.store.source_frames import source_remarks
    from geoflow.store.verify import verify as find_problems

    problems = find_problems(out, deep=not quick)
    remarks = source_remarks(out, deep=not quick)
    if as_json:
        print_json({"path": out, "problems": problems, "remarks": remarks})
    else:
        print("\n".join(problems) or f"{out}: no problems")
        for line in remarks:
            print(f"note: {line}")
    raise typer.Exit(3 if problems else 0)


@command(app, "geoflow report out --open", "geoflow report s3://bucket/out")
def report(
    out: RunFolder,
    show: Annotated[bool, typer.Option("--open", help="open it in a browser")] = False,
) -> None:
    """Write OUT/report.html, and OUT/trace.json for ui.perfetto.dev."""
    from geoflow.report import write_report

    written = write_report(out)
    print(written)
    if show:
        open_page(written)


@command(
    app,
    "geoflow export out/videos/clip.h5 --to preview -o clip.mp4",
    "geoflow export out/videos/clip.h5 --to mesh -o room.glb",
    "geoflow export out --to depth -o depth --set output_format=png",
    "geoflow export out --to lerobot -o dataset --val 0.2 --select list.parquet",
    'geoflow export out --to tapip3d -o clips --where "quality > 0.6"',
)
def export(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE|OUT", help="a store, OUT/videos/<name>.h5, or a run's folder: all its videos"),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="tapip3d, vipe, tapvid3d, colmap, nerfstudio, ply, glb, obj, mesh, rerun, lerobot, y2r, depth, "
            "depth_video or preview; of a run, lerobot, y2r, webdataset, zarr and tapvid3d are one dataset",
            autocompletion=formats,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", metavar="PATH", help="file or folder to write; for a run, the folder of all videos"
        ),
    ],
    where: Where = None,
    chosen: Chosen = None,
    val: Annotated[
        float, typer.Option(metavar="SHARE", help="of a dataset: the share of videos held back for validation")
    ] = 0.1,
    seed: Annotated[int, typer.Option(metavar="N", help="of a dataset: picks the videos that are held back")] = 0,
    processes: Annotated[
        int, typer.Option(metavar="N", min=0, help="of a dataset: written side by side; 0: one per CPU")
    ] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="an option of the format")
    ] = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Write a store, or all stores of a run, for another tool.

    A run becomes one dataset with splits, or else a file or folder for each of its videos, written on Ray at the same
    time. With --where or --select it holds the chosen frames only. The exit status is 3 if videos are left out of a
    dataset. An export of a dataset that was stopped goes on.
    """
    from geoflow.export import FORMATS, export_store
    from geoflow.export.dataset.registry import DATASETS
    from geoflow.store.mirror import is_run

    options = settings_of(set_, "NAME=VALUE")
    if is_run(file) and to in DATASETS:
        _export_dataset(
            file, to, out, options, as_json, where=where, chosen=chosen, val=val, seed=seed, processes=processes
        )
    if to in DATASETS and to not in FORMATS:
        raise ConfigError(f"--to {to} is a dataset of a run; give a run's folder in the place of {file}")
    if is_run(file):
        from geoflow.export.parallel import export_run

        with result_alone():
            written = export_run(file, to, out, address=address, where=where, chosen=chosen, **options)
        if as_json:
            print_json({name: str(path) for name, path in written.items()})
        else:
            print(f"{out}: {len(written)} videos")
        return
    if where is not None or chosen is not None:
        raise ConfigError(f"--where and --select choose from a run; give its folder in the place of {file}")
    with result_alone():
        done = export_store(file, to, out, **options)
    if as_json:
        said = {"said": done.said} if done.said else {}
        print_json({"path": str(done.path), "format": to, "frames": done.frames, "of": done.of, **said})
    else:
        print(f"{done.path}: {done.frames} of {done.of} frames{f'; {done.said}' if done.said else ''}")


def _export_dataset(run: str, to: str, out: Path, options: dict[str, Any], as_json: bool, **chosen: Any) -> NoReturn:
    """Write a run as one dataset, and exit with the status that says whether all of its videos are in it."""
    from geoflow.export.dataset.registry import dataset_kind
    from geoflow.export.dataset.writing import export_dataset, reasons

    kind = dataset_kind(to, options)
    with result_alone():
        done = export_dataset(run, kind, out, **chosen)
    videos = len({episode.video for episode in done.episodes})
    if as_json:
        counts = {"episodes": len(done.episodes), "videos": videos, "frames": done.frames}
        without = {"left_out": done.left_out, "not_chosen": done.not_chosen}
        print_json({"path": str(done.path), "format": to, **counts, "splits": done.splits, **without})
    else:
        sides = ", ".join(f"{side} {span}" for side, span in done.splits.items())
        print(f"{done.path}: {len(done.episodes)} episodes of {videos} videos, {done.frames} frames; {sides}")
        if done.left_out:
            print(f"left out:\n{reasons(done.left_out)}", file=sys.stderr)
    raise typer.Exit(3 if done.left_out else 0)


@command(app, "geoflow view out/videos/clip.h5", "geoflow view out/videos/clip.h5 --web --port 8000")
def view(
    file: Store,
    web: Annotated[bool, typer.Option("--web", help="in a browser: serve the viewer, print its address")] = False,
    port: Annotated[
        int, typer.Option(metavar="N", min=1, max=65534, help="port of the page; the data uses the next port")
    ] = 9090,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="an option of `export --to rerun`")
    ] = None,
) -> None:
    """Show a store in the Rerun viewer.

    It ends when the viewer is closed, or at Ctrl-C.
    """
    from geoflow.export.viewer import view as show

    show(file, web=web, port=port, **settings_of(set_, "NAME=VALUE"))
