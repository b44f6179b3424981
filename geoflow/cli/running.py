"""Commands that make stores: run, submit, plan, demo."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from geoflow.cli.arguments import (
    Address,
    AsJson,
    Cameras,
    Destination,
    Fresh,
    Out,
    Pattern,
    PipelineName,
    Scale,
    Settings,
    Stream,
    intrinsics_of,
    settings_of,
    size_of,
)
from geoflow.cli.output import announce, end, error_console, print_json, result_alone, result_console, stoppable

app = typer.Typer()


@app.command()
def run(
    inputs: Annotated[list[str], typer.Argument(help="files, folders, globs, frame folders, manifests, URIs")],
    out: Destination,
    pipeline: PipelineName = "embedded",
    set_: Settings = None,
    fps: Annotated[float | None, typer.Option(help="resample to this frame rate")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="process at this size")] = None,
    limit: Annotated[int | None, typer.Option(help="stop after this many frames of each video")] = None,
    intrinsics: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|fx,fy,cx,cy[,k1,k2,p1,p2,k3]",
            help="known camera in pixels of the upright picture that players show, with its lens distortion (OpenCV)",
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="folder with <video>/<frame images>; non-zero pixels are ignored"),
    ] = None,
    objects: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE",
            help="folder with <video>/<label images>, whose pixel values are object numbers; or a YAML file of prompts",
        ),
    ] = None,
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
    as_json: AsJson = False,
) -> None:
    """Process videos into OUT/videos/<name>.h5 and an index."""
    announce(inputs, out)
    from geoflow.runner import run as run_pipeline

    with stoppable():
        result = run_pipeline(
            inputs,
            out,
            pipeline,
            settings=settings_of(set_),
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
            console=error_console(),
        )
    end(result, result.to_dict(), as_json)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def submit(
    context: typer.Context,
    address: Annotated[
        str | None, typer.Option(help="job server; default: $RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265")
    ] = None,
    job_id: Annotated[str | None, typer.Option("--job-id", help="name of the job; default: Ray chooses one")] = None,
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
    """Submit `run` as a job of a Ray cluster. All other arguments are arguments of `run`; paths are on the cluster."""
    from geoflow.pipeline import Pipeline
    from geoflow.submission import submit as submit_run
    from geoflow.video.options import ReadOptions

    given, modules = arguments_of_run(context.args), upload or []
    sys.path[:0] = dict.fromkeys(str(Path(path).resolve().parent) for path in modules)
    # Wrong arguments are reported here, before anything is submitted.
    Pipeline.load(given["pipeline"], settings_of(given["set_"]))
    seen = {"size": size_of(given["size"]), "intrinsics": intrinsics_of(given["intrinsics"])}
    plain = ("fps", "limit", "stream", "pattern", "cameras", "scale")
    ReadOptions(**{name: given[name] for name in plain}, **seen)
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
    command: Any = typer.main.get_command(app)
    return dict(command.commands["run"].make_context("geoflow run", list(arguments)).params)


@app.command()
def plan(
    inputs: Annotated[list[str], typer.Argument(help="as for `run`")],
    pipeline: PipelineName = "embedded",
    set_: Settings = None,
    fps: Annotated[float | None, typer.Option(help="as for `run`")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="as for `run`")] = None,
    limit: Annotated[int | None, typer.Option(help="as for `run`")] = None,
    intrinsics: Annotated[
        str | None, typer.Option(metavar="FILE|fx,fy,cx,cy[,k1,k2,p1,p2,k3]", help="as for `run`")
    ] = None,
    cameras: Cameras = None,
    scale: Scale = None,
    stream: Stream = None,
    pattern: Pattern = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs to plan for; default: this machine's")] = None,
    gpu_kind: Annotated[
        str | None, typer.Option(help="kind of the GPUs as Ray names it, such as A100; default: this machine's")
    ] = None,
    gpu_cost: Annotated[float | None, typer.Option(min=0, help="dollars per GPU and hour")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what `run` would do, need and cost, without running: stages and their pools, inputs, segments."""
    from geoflow.planning.plan import make_plan
    from geoflow.planning.plan_table import render_plan
    from geoflow.video.options import ReadOptions

    found = make_plan(
        inputs,
        pipeline,
        settings=settings_of(set_),
        reading=ReadOptions(
            fps=fps,
            size=size_of(size),
            limit=limit,
            intrinsics=intrinsics_of(intrinsics),
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


@app.command()
def demo(
    out: Out = Path("demo"),
    pipeline: PipelineName = "embedded",
    frames: Annotated[int, typer.Option(help="length of the clip")] = 150,
    size: Annotated[str, typer.Option(metavar="WxH")] = "320x240",
    seed: Annotated[int, typer.Option(help="number that chooses another scene and camera path")] = 0,
    set_: Settings = None,
    address: Address = None,
    resume: Fresh = True,
    as_json: AsJson = False,
) -> None:
    """Render a clip with exact ground truth, run the pipeline on it, score it and write the report."""
    announce(["a made-up clip"], out)
    from geoflow.demo import demo as run_demo
    from geoflow.evaluate import render_table

    with stoppable():
        result = run_demo(
            out,
            pipeline=pipeline,
            num_frames=frames,
            size=size_of(size) or (320, 240),
            seed=seed,
            resume=resume,
            settings=settings_of(set_),
            address=address,
            console=error_console(),
        )
    if not as_json and result.scores:
        result_console().print(render_table(result.scores))
        print(f"report: {result.report}")
    end(result.run, result.to_dict(), as_json, report=False)
