"""`geoflow bench`: the figures of the documentation, measured on this machine; here those of the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geoflow.cli.arguments import (
    AsJson,
    Out,
    PipelineName,
    Settings,
    size_of,
)
from geoflow.cli.command import command, examples
from geoflow.cli.output import error_console, print_json, result_alone
from geoflow.errors import ConfigError

app = typer.Typer(
    help="Measure the figures of the documentation on this machine.",
    no_args_is_help=True,
    epilog=examples("geoflow bench memory", "geoflow bench footage clips/"),
)


@command(
    app,
    "geoflow bench memory",
    "geoflow bench memory --frames 100,400 --size 320x240",
    name="memory",
)
def bench_memory(
    out: Out = Path("bench/memory"),
    frames: Annotated[str, typer.Option(metavar="N,...", help="lengths to compare, separated by commas")] = "200,2000",
    size: Annotated[str, typer.Option(metavar="WxH", help="size of the frames")] = "640x360",
    pipeline: PipelineName = "embedded",
    set_: Settings = None,
) -> None:
    """Measure the peak memory of runs on short and long videos.

    It is the private memory of driver and actors; JSON on stdout.
    """
    from geoflow.bench.memory import memory

    lengths = tuple(int(count) for count in frames.split(","))
    with result_alone():
        found = memory(
            out.resolve(),
            frames=lengths,
            size=size_of(size) or (640, 360),
            pipeline=pipeline,
            settings=tuple(set_ or ()),
            console=error_console(),
        )
    print_json(found)


@command(
    app,
    "geoflow bench first-signs",
    "geoflow bench first-signs --runs 5 --beside ../before",
    name="first-signs",
)
def bench_first_signs(
    runs: Annotated[int, typer.Option(metavar="N", min=1, help="runs of each command; the figures are medians")] = 3,
    beside: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="another checkout, to be measured in turn with this one")
    ] = None,
) -> None:
    """Measure what a user waits for: first output, first bar, refusals, finished work; JSON on stdout."""
    from geoflow.bench.first_signs import first_signs

    print_json(first_signs(runs, beside))


@command(
    app,
    "geoflow bench engine",
    "geoflow bench engine --workloads balanced,dag --runs 1",
    name="engine",
)
def bench_engine(
    out: Out = Path("bench/engine"),
    workloads: Annotated[
        str, typer.Option(metavar="NAME,...", help="names, separated by commas")
    ] = "balanced,skewed,dag,tiny,big,resume",
    engines: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="names, separated by commas; default: all")
    ] = None,
    runs: Annotated[int, typer.Option(metavar="N", min=1, help="runs of each engine; the figures are medians")] = 3,
    items: Annotated[
        int | None, typer.Option(metavar="N", min=2, help="items, instead of each workload's number")
    ] = None,
    xenna_python: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON", help="Python interpreter with cosmos-xenna and GeoFlow's packages; default: this one"
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="seconds one run may take")] = 600.0,
    fresh: Annotated[bool, typer.Option("--fresh", help="measure again, also figures that OUT already holds")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the executor with other engines.

    The others are Ray Data, cosmos-xenna, a plain executor and a stage-by-stage script, on pretended GPUs.
    """
    from geoflow.bench.engine.engine_bench import bench_engines
    from geoflow.bench.engine.engines import ENGINES

    with result_alone():
        found = bench_engines(
            out.resolve(),
            workloads=workloads.split(","),
            engines=engines.split(",") if engines else tuple(ENGINES),
            runs=runs,
            items=items,
            xenna_python=xenna_python,
            timeout=timeout,
            fresh=fresh,
            console=error_console(),
        )
    if as_json:
        print_json(found)


@command(
    app,
    "geoflow bench engine-table bench/engine/engines.json",
    "geoflow bench engine-table bench/engine/engines.json --workloads dag",
    name="engine-table",
)
def bench_engine_table(
    figures: Annotated[Path, typer.Argument(metavar="FILE", help="engines.json of `bench engine`", exists=True)],
    workloads: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="names, separated by commas; default: all")
    ] = None,
) -> None:
    """Print the table of `bench engine` (Markdown)."""
    import json

    from geoflow.bench.engine.engine_table import markdown

    typer.echo(markdown(json.loads(figures.read_text())["rows"], workloads.split(",") if workloads else ()), nl=False)


@command(
    app,
    "geoflow bench observation",
    "geoflow bench observation --segments 500 --pause 0.01",
    name="observation",
)
def bench_observation(
    segments: Annotated[
        int, typer.Option(metavar="N", min=1, help="segments of the simulated run, with three stages each")
    ] = 3000,
    pause: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="seconds the driver sleeps after each segment")
    ] = 0.0,
) -> None:
    """Measure the CPU time that watching a run takes.

    It is given per event of the ledger, the metrics and the progress display; JSON on stdout.
    """
    from geoflow.bench.observation import observation

    print_json(observation(segments, pause))


@command(
    app,
    "geoflow bench scale",
    "geoflow bench scale --gpus 1,2,4 --segments 0",
    name="scale",
)
def bench_scale(
    gpus: Annotated[
        str, typer.Option(metavar="N,...", help="pretended GPUs, one cluster each, separated by commas")
    ] = "1,2,4,8,16,32",
    items: Annotated[int, typer.Option(metavar="N", min=10, help="segments for each GPU")] = 20,
    segments: Annotated[
        int, typer.Option(metavar="N", min=0, help="segments of a very long run; 0: without it")
    ] = 100_000,
) -> None:
    """Measure scaling on simulated clusters.

    It is weak scaling, and the driver's memory over a very long run; JSON on stdout.
    """
    from geoflow.bench.scale import many_segments, weak_scaling

    console = error_console()
    counts = [int(count) for count in gpus.split(",") if count]
    with result_alone():
        found: dict[str, Any] = {"weak_scaling": weak_scaling(counts, items, console)}
        if segments:
            found["many_segments"] = many_segments(segments, console)
    print_json(found)


@command(
    app,
    "geoflow bench faults",
    "geoflow bench faults --moments 0.5",
    "geoflow bench faults --bridge --faults child,hang --moments 0.5",
    name="faults",
)
def bench_faults(
    out: Out = Path("bench/faults"),
    faults: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="names, separated by commas; default: all")
    ] = None,
    moments: Annotated[
        str, typer.Option(metavar="SHARE,...", help="when faults happen: shares of the run, by commas")
    ] = "0.1,0.5,0.9",
    bridge: Annotated[
        bool, typer.Option("--bridge", help="run the stages in child processes, as `interpreter` does; kill these, too")
    ] = False,
) -> None:
    """Cause faults during runs and compare the results.

    The extra time is measured, too; JSON on stdout.
    """
    from geoflow.bench.faults.fault_bench import FAULTS, ONLY_BRIDGED, bench_faults

    known = [*FAULTS, *(ONLY_BRIDGED if bridge else ())]
    wanted = faults.split(",") if faults else known
    if unknown := sorted(set(wanted) - set(known)):
        raise ConfigError(f"unknown faults {unknown}; there are: {', '.join(known)}")
    shares = [float(moment) for moment in moments.split(",")]
    with result_alone():
        found = bench_faults(out.resolve(), wanted, shares, error_console(), bridge=bridge)
    print_json(found)


@command(
    app,
    "geoflow bench bridge",
    "geoflow bench bridge --megabytes 8 --seconds 0.1 --calls 3",
    name="bridge",
)
def bench_bridge_command(
    megabytes: Annotated[int, typer.Option(metavar="N", min=1, help="MB into a call, and as many out of it")] = 64,
    seconds: Annotated[float, typer.Option(metavar="S", min=0, help="CPU time that a call computes")] = 0.5,
    calls: Annotated[int, typer.Option(metavar="N", min=1, help="calls each way; the figures are medians")] = 9,
    python: Annotated[
        str | None, typer.Option(metavar="PATH", help="the other interpreter; default: the one that runs this")
    ] = None,
) -> None:
    """Compare calls into another Python with those in the actor.

    Wall and CPU time of both, for calls that compute and for calls that only pass arrays; JSON on stdout.
    """
    from geoflow.bench.bridge_bench import bench_bridge

    with result_alone():
        found = bench_bridge(megabytes=megabytes, seconds=seconds, calls=calls, python=python, console=error_console())
    print_json(found)
