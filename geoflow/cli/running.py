"""Commands that make stores, and what they will do: run, plan, params, submit, demo."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoflow.cli.arguments import (
    Address,
    AsJson,
    Cameras,
    Destination,
    Fit,
    Fps,
    Fresh,
    Inputs,
    Intrinsics,
    Limit,
    Masks,
    Objects,
    Out,
    Pattern,
    PipelineName,
    Scale,
    Settings,
    Size,
    Stream,
    Without,
    intrinsics_of,
    pipeline_of,
    settings_of,
    size_of,
)
from geoflow.cli.command import Command, argument_name, command, write_section
from geoflow.cli.completion import parameters
from geoflow.cli.output import announce, end, error_console, print_json, result_alone, result_console, stoppable

if TYPE_CHECKING:
    from geoflow.pipeline import Pipeline

app = typer.Typer()


@command(
    app,
    "geoflow run clip.mp4 -o out",
    "geoflow run videos/ -o out --without hands,tracks --fps 10",
    "geoflow run clip.mp4 -o again --pipeline out/pipeline.yaml",
)
def run(
    inputs: Inputs,
    out: Destination,
    pipeline: PipelineName = "embedded",
    set_: Settings = None,
    without: Without = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="print the settings as a pipeline file (YAML), and do not run")
    ] = False,
    fps: Fps = None,
    size: Size = None,
    limit: Limit = None,
    intrinsics: Intrinsics = None,
    masks: Masks = None,
    objects: Objects = None,
    cameras: Cameras = None,
    scale: Scale = None,
    stream: Stream = None,
    pattern: Pattern = None,
    address: Address = None,
    resume: Fresh = True,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="stop at the first input that fails")] = False,
    commercial: Annotated[
        bool, typer.Option("--commercial", help="refuse models with a licence that forbids commercial use")
    ] = False,
    skip_unfit: Annotated[
        bool, typer.Option("--skip-unfit", help="look at the inputs first, and leave out what is unfit: `geoflow scan`")
    ] = False,
    fit: Fit = None,
    as_json: AsJson = False,
) -> None:
    """Process videos into OUT/videos/<name>.h5 and an index.

    A run may be stopped with Ctrl-C (exit status 130); the same command continues where it was.
    """
    if not print_config:
        announce(inputs, out)  # before the slow imports
    pipe = pipeline_of(pipeline, set_, without)
    if print_config:
        given = {"fps": fps, "size": size_of(size), "limit": limit, "intrinsics": intrinsics_of(intrinsics)}
        given |= {"masks": masks, "objects": objects, "cameras": cameras, "scale": scale}
        _print_config(pipe, {**given, "stream": stream, "pattern": pattern}, as_json)
        return
    from geoflow.runner import run as run_pipeline

    with stoppable():
        result = run_pipeline(
            inputs,
            out,
            pipe,
            fps=fps,
            size=size_of(size),
            limit=limit,
            intrinsics=intrinsics_of(intrinsics),
            masks=masks,
            objects=objects,
            cameras=cameras,
            scale=scale,
            stream=stream,
            pattern=pattern,
            address=address,
            resume=resume,
            fail_fast=fail_fast,
            commercial=commercial,
            skip_unfit=skip_unfit,
            fit=settings_of(fit, "NAME=VALUE", "--fit"),
            console=error_console(),
        )
    end(result, result.to_dict(), as_json)


def _print_config(pipe: Pipeline, given: dict[str, Any], as_json: bool) -> None:
    from geoflow.planning import pipeline_file
    from geoflow.video.options import read_options

    reading = read_options(pipe.reading, given)
    if as_json:
        print_json(pipeline_file.as_file(pipe, reading))
    else:
        print(pipeline_file.as_text(pipe, reading), end="")


class _WithOptionsOfRun(Command):
    """A command that passes on what it does not know to `run`: its help and its completion have the options of `run`,
    too."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*_run_command().collect_usage_pieces(ctx), "[OPTIONS OF RUN]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        super().format_options(ctx, formatter)
        run, own = _run_command(), {name for row in self.get_params(ctx) for name in row.opts}
        arguments = [(argument_name(row), row.help) for row in run.arguments()]
        options = [row for row in run.params if row not in run.arguments() and not own & set(row.opts)]
        records = [*arguments, *(row.get_help_record(ctx) for row in options)]
        write_section(formatter, "Arguments and options of run", records)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        found = super().shell_complete(ctx, incomplete)
        known = {item.value for item in found}
        return found + [item for item in _run_command().shell_complete(ctx, incomplete) if item.value not in known]


def _run_command() -> Any:
    command: Any = typer.main.get_command(app)
    return command.commands["run"]


@command(
    app,
    "geoflow submit /data/videos -o /data/out --address http://head:8265",
    "geoflow submit s3://bucket/in/ -o s3://bucket/out --no-wait --without hands",
    cls=_WithOptionsOfRun,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def submit(
    context: typer.Context,
    address: Annotated[
        str | None,
        typer.Option(metavar="URL", help="job server; default: $RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265"),
    ] = None,
    job_id: Annotated[
        str | None, typer.Option("--job-id", metavar="NAME", help="name of the job; default: Ray chooses one")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="show the job's output until it ends, or not")] = True,
    upload: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="your own module, package or environment that the job needs"),
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="install GeoFlow's core packages for the job, on nodes that only have Ray")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Submit `run` as a job of a Ray cluster.

    All other arguments are those of `run`. Their paths are on the cluster, except the pipeline file, a camera file and
    a file of prompts, which are sent along.
    """
    from geoflow.scanning.leaving_out import wanted_scan
    from geoflow.submission import submit as submit_run
    from geoflow.video.options import read_options

    given, modules = arguments_of_run(context.args), upload or []
    sys.path[:0] = dict.fromkeys(str(Path(path).resolve().parent) for path in modules)
    # Wrong arguments are reported here, before anything is submitted.
    pipe = pipeline_of(given["pipeline"], given["set_"], given["without"])
    seen = {"size": size_of(given["size"]), "intrinsics": intrinsics_of(given["intrinsics"])}
    plain = ("fps", "limit", "stream", "pattern", "cameras", "scale")
    read_options(pipe.reading, {**{name: given[name] for name in plain}, **seen})
    wanted_scan(given["skip_unfit"], settings_of(given["fit"], "NAME=VALUE", "--fit"))
    named = [str(given[name]) for name in ("pipeline", "intrinsics", "objects") if given[name]]
    files = [path for path in named if os.path.isfile(path)]
    places = [str(given[name]) for name in ("out", "masks", "objects", "cameras") if given[name]]
    paths = [*given["inputs"], *(path for path in places if path not in files)]
    with stoppable("the job continues; follow it with `ray job logs`, end it with `ray job stop`"), result_alone():
        done = submit_run(
            context.args,
            files=files,
            paths=paths,
            modules=modules,
            address=address,
            job_id=job_id,
            install=install,
            wait=wait,
        )
    if as_json:
        print_json(vars(done))
    elif done.exit_status is None:
        print(f"{done.job_id} at {done.address}")
    else:
        print(f"{done.job_id}: {done.status}" + (f": {done.message}" if done.message else ""))
    raise typer.Exit(done.exit_status or 0)


def arguments_of_run(arguments: list[str]) -> dict[str, Any]:
    """Parse arguments as `run` does, with the same error messages."""
    return dict(_run_command().make_context("geoflow run", list(arguments)).params)


@command(
    app,
    "geoflow plan videos/ --without hands",
    "geoflow plan videos/ --pipeline geometry --gpus 8 --gpu-cost 2.5",
)
def plan(
    inputs: Inputs,
    pipeline: PipelineName = "embedded",
    set_: Settings = None,
    without: Without = None,
    fps: Fps = None,
    size: Size = None,
    limit: Limit = None,
    intrinsics: Intrinsics = None,
    masks: Masks = None,
    objects: Objects = None,
    cameras: Cameras = None,
    scale: Scale = None,
    stream: Stream = None,
    pattern: Pattern = None,
    gpus: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="GPUs to plan for; default: this machine's")
    ] = None,
    gpu_kind: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="kind of the GPUs as Ray names it, such as A100; default: this machine's"),
    ] = None,
    gpu_cost: Annotated[float | None, typer.Option(metavar="DOLLARS", min=0, help="price of a GPU for an hour")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what `run` would do, need and cost, without running.

    The plan lists stages with their actors, licences and weights, and inputs with their segments. Times are those of
    earlier runs from this machine. The exit status is 3 if an input cannot be used.
    """
    from geoflow.planning.plan import make_plan
    from geoflow.planning.plan_table import render_plan
    from geoflow.video.options import ReadOptions

    found = make_plan(
        inputs,
        pipeline_of(pipeline, set_, without),
        reading=ReadOptions(
            fps=fps,
            size=size_of(size),
            limit=limit,
            intrinsics=intrinsics_of(intrinsics),
            masks=None if masks is None else str(masks),
            objects=None if objects is None else str(objects),
            cameras=None if cameras is None else str(cameras),
            scale=scale,
            stream=stream,
            pattern=pattern,
        ),
        gpus=gpus,
        kind=gpu_kind,
        gpu_cost=gpu_cost,
    )
    if as_json:
        print_json(found)
    else:
        result_console(width=160).print(render_plan(found))
    raise typer.Exit(3 if any("problem" in row for row in found["videos"]) else 0)


@command(
    app,
    "geoflow params camera",
    "geoflow params geometry --pipeline geometry",
)
def params(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PIPELINE|SLOT]...",
            help="a pipeline, or stages of one, such as camera; default: the whole pipeline",
            autocompletion=parameters,
        ),
    ] = None,
    pipeline: PipelineName = "embedded",
    as_json: AsJson = False,
) -> None:
    """List the parameters that --set changes: value, default, meaning."""
    from dataclasses import asdict

    from geoflow.planning.parameters import choose, render_parameters

    pipe, rows, notes = choose(names or [], pipeline)
    if as_json:
        print_json({"pipeline": pipe.name, "parameters": [asdict(row) for row in rows]})
    else:
        result_console(width=120).print(render_parameters(pipe, rows, notes))


@command(
    app,
    "geoflow demo",
    "geoflow demo -o demo2 --frames 90 --seed 1 --without hands",
)
def demo(
    out: Out = Path("demo"),
    pipeline: PipelineName = "embedded",
    set_: Settings = None,
    without: Without = None,
    frames: Annotated[int, typer.Option(metavar="N", help="length of the clip")] = 150,
    size: Annotated[str, typer.Option(metavar="WxH", help="size of its frames")] = "320x240",
    seed: Annotated[int, typer.Option(metavar="N", help="chooses another scene and camera path")] = 0,
    address: Address = None,
    resume: Fresh = True,
    as_json: AsJson = False,
) -> None:
    """Try everything: render a clip, run, score it, write a report.

    The clip is a made-up room whose depth, camera path and tracks are known exactly.
    """
    announce(["a made-up clip"], out)
    from geoflow.demo import demo as run_demo
    from geoflow.evaluate import render_table

    with stoppable():
        result = run_demo(
            out,
            pipeline=pipeline_of(pipeline, set_, without),
            num_frames=frames,
            size=size_of(size) or (320, 240),
            seed=seed,
            resume=resume,
            address=address,
            console=error_console(),
        )
    if not as_json and result.scores:
        result_console().print(render_table(result.scores))
        print(f"report: {result.report}")
    end(result.run, result.to_dict(), as_json, report=False)
