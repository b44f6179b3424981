"""The command line. It knows nothing but the library; exit status 0, 1 (a bug), 2 (usage), 3 (some inputs failed)."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from geoflow.errors import ConfigError, EnvironmentBroken, GeoFlowError, InputError

if TYPE_CHECKING:
    from rich.console import Console

    from geoflow.runner import RunResult

app = typer.Typer(
    help="Turn videos into 3D training data: depth, camera poses, tracks and hands.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option("-o", "--out", help="output folder")]
Destination = Annotated[str, typer.Option("-o", "--out", help="output folder, or a URI such as s3://bucket/out")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout and nothing else")]
PipelineName = Annotated[str, typer.Option("--pipeline", help="name in configs/pipelines/, or a file")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="STAGE.PARAM=VALUE", help="change a parameter")]
Address = Annotated[str | None, typer.Option(help="Ray cluster to join; default: $RAY_ADDRESS, else a local one")]
Fresh = Annotated[bool, typer.Option("--resume/--fresh", help="go on from what OUT already holds, or compute it again")]


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
        str | None, typer.Option(metavar="FILE|fx,fy,cx,cy", help="known camera, in pixels of the upright source")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="folder with <video>/<frame images>; non-zero is ignored")] = None,
    address: Address = None,
    resume: Fresh = True,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="stop at the first input that fails")] = False,
    commercial: Annotated[
        bool, typer.Option("--commercial", help="refuse models whose licence forbids commercial use")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Process videos into OUT/videos/<name>.h5 and an index."""
    from geoflow.runner import run as run_pipeline

    with _stoppable():
        result = run_pipeline(
            inputs,
            out,
            pipeline,
            settings=_settings(set_),
            fps=fps,
            size=_size(size),
            limit=limit,
            intrinsics=_intrinsics(intrinsics),
            masks=masks,
            address=address,
            resume=resume,
            fail_fast=fail_fast,
            commercial=commercial,
            console=_console(),
        )
    _end(result, result.to_dict(), as_json)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def submit(
    context: typer.Context,
    address: Annotated[
        str | None, typer.Option(help="job server; default: $RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265")
    ] = None,
    job_id: Annotated[str | None, typer.Option("--job-id", help="name of the job; default: one of Ray's")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="show what it prints until it ends, or not")] = True,
    install: Annotated[
        bool, typer.Option("--install", help="have the core's packages installed for the job, where only Ray is")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """`run` as a job of a Ray cluster: all other arguments are those of `run`, and name what the cluster has."""
    from geoflow.pipeline import Pipeline
    from geoflow.submission import submit as submit_run

    given = _arguments_of_run(context.args)
    Pipeline.load(given["pipeline"], _settings(given["set_"]))  # what is wrong with it is said here and now
    files = [given[name] for name in ("pipeline", "intrinsics") if given[name] and Path(given[name]).is_file()]
    paths = [*given["inputs"], *(str(given[name]) for name in ("out", "masks") if given[name])]
    with _stoppable("the job goes on; `ray job logs` and `ray job stop` reach it"), _result_alone():
        done = submit_run(
            context.args, files=files, paths=paths, address=address, job_id=job_id, install=install, wait=wait
        )
    if as_json:
        _print_json(vars(done))
    elif done.exit_status is None:
        print(f"{done.job_id} at {done.address}")
    else:
        print(f"{done.job_id}: {done.status}" + (f": {done.message}" if done.message else ""))
    raise typer.Exit(done.exit_status or 0)


@app.command()
def demo(
    out: Out = Path("demo"),
    pipeline: PipelineName = "embedded",
    frames: Annotated[int, typer.Option(help="length of the clip")] = 150,
    size: Annotated[str, typer.Option(metavar="WxH")] = "320x240",
    seed: Annotated[int, typer.Option(help="another scene and path")] = 0,
    set_: Settings = None,
    address: Address = None,
    resume: Fresh = True,
    as_json: AsJson = False,
) -> None:
    """Render a clip with exact ground truth, run the pipeline on it, score it and write the report."""
    from geoflow.demo import demo as run_demo
    from geoflow.evaluate import render_table

    with _stoppable():
        result = run_demo(
            out,
            pipeline=pipeline,
            num_frames=frames,
            size=_size(size) or (320, 240),
            seed=seed,
            resume=resume,
            settings=_settings(set_),
            address=address,
            console=_console(),
        )
    if not as_json and result.scores:
        _stdout().print(render_table(result.scores))
        print(f"report: {result.report}")
    _end(result.run, result.to_dict(), as_json)


@app.command()
def synth(
    video: Annotated[Path, typer.Argument(help="the .mp4 to write; the truth goes beside it as .gt.h5")],
    frames: Annotated[int, typer.Option(min=2)] = 120,
    size: Annotated[str, typer.Option(metavar="WxH")] = "320x240",
    fps: Annotated[float, typer.Option(min=0.1)] = 30.0,
    motion: Annotated[str, typer.Option(help="handheld, orbit, still or rotate")] = "handheld",
    moving: Annotated[int, typer.Option(min=0, help="moving objects")] = 1,
    seed: int = 0,
) -> None:
    """Render a procedural scene with exact depth, poses and tracks."""
    from geoflow.synth import render_clip

    width, height = _size(size) or (320, 240)
    truth = video.with_suffix(".gt.h5")
    render_clip(
        video, truth, num_frames=frames, width=width, height=height, fps=fps, motion=motion, moving=moving, seed=seed
    )
    print(f"{video}\n{truth}")


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="a store, OUT/videos/<name>.h5")],
    gt: Annotated[Path, typer.Option("--gt", help="ground truth, as `geoflow synth` writes it")],
    as_json: AsJson = False,
) -> None:
    """Score a store against ground truth."""
    from geoflow.evaluate import evaluate_store, render_table

    scores = evaluate_store(file, gt)
    if as_json:
        _print_json(scores.to_dict())
    else:
        _stdout().print(render_table(scores))


@app.command()
def info(file: Annotated[str, typer.Argument(help="a store")], as_json: AsJson = False) -> None:
    """Say what a store holds."""
    from geoflow.store.info import describe, render
    from geoflow.store.reader import open_video

    with open_video(file) as video:
        summary = describe(video)
    if as_json:
        _print_json(summary)
    else:
        _stdout().print(render(summary))


@app.command()
def verify(
    out: Annotated[str, typer.Argument(help="a run's folder, or one store")],
    quick: Annotated[bool, typer.Option("--quick", help="names, types, shapes and attributes only")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that everything is there, whole and within the schema; exit status 3 when it is not."""
    from geoflow.store.verify import verify as find_problems

    problems = find_problems(out, deep=not quick)
    if as_json:
        _print_json({"path": out, "problems": problems})
    else:
        print("\n".join(problems) or f"{out}: no problems")
    raise typer.Exit(3 if problems else 0)


@app.command()
def status(out: Annotated[str, typer.Argument(help="a run's folder")], as_json: AsJson = False) -> None:
    """Say where a run stands, also while it goes on: videos, stages, time left."""
    from geoflow.status import read_status, render_status

    found = read_status(out)
    if as_json:
        _print_json(found)
    else:
        _stdout().print(render_status(found))


@app.command()
def report(out: Annotated[str, typer.Argument(help="a run's folder")]) -> None:
    """Write OUT/report.html, and OUT/trace.json for ui.perfetto.dev."""
    from geoflow.report import write_report

    print(write_report(out))


@app.command()
def export(
    file: Annotated[str, typer.Argument(help="a store, OUT/videos/<name>.h5, or a run's folder: all its videos")],
    to: Annotated[
        str, typer.Option("--to", help="tapip3d, vipe, tapvid3d, colmap, ply, glb, rerun, lerobot, y2r or depth")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="the file or folder to write; of a run, where they all go")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="an option of the format")
    ] = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Write a store in the format of another tool; those of a run at the same time, on Ray."""
    from geoflow.export import export_store
    from geoflow.store.mirror import is_run

    options = _settings(set_, "NAME=VALUE")
    if is_run(file):
        from geoflow.export.parallel import export_run

        with _result_alone():
            written = export_run(file, to, out, address=address, **options)
        if as_json:
            _print_json({name: str(path) for name, path in written.items()})
        else:
            print(f"{out}: {len(written)} videos")
        return
    with _result_alone():
        done = export_store(file, to, out, **options)
    if as_json:
        _print_json({"path": str(done.path), "format": to, "frames": done.frames, "of": done.of})
    else:
        print(f"{done.path}: {done.frames} of {done.of} frames")


@app.command()
def view(
    file: Annotated[str, typer.Argument(help="a store, OUT/videos/<name>.h5")],
    web: Annotated[bool, typer.Option("--web", help="in a browser: serve the viewer and print its address")] = False,
    port: Annotated[int, typer.Option(min=1, max=65534, help="of the page; the data is on the next one")] = 9090,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="an option of `export --to rerun`")
    ] = None,
) -> None:
    """Show a store in the Rerun viewer until that is closed, or until Ctrl-C."""
    from geoflow.view import view as show

    show(file, web=web, port=port, **_settings(set_, "NAME=VALUE"))


@app.command()
def plan(
    inputs: Annotated[list[str], typer.Argument(help="as for `run`")],
    pipeline: PipelineName = "embedded",
    set_: Settings = None,
    fps: Annotated[float | None, typer.Option(help="as for `run`")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="as for `run`")] = None,
    limit: Annotated[int | None, typer.Option(help="as for `run`")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs to plan for; default: this machine's")] = None,
    gpu_kind: Annotated[
        str | None, typer.Option(help="their kind as Ray names it, such as A100; default: this machine's")
    ] = None,
    gpu_cost: Annotated[float | None, typer.Option(min=0, help="dollars per GPU and hour")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what `run` would do, take and cost, without doing it: stages and their pools, inputs, segments."""
    from geoflow.plan import make_plan
    from geoflow.plan_table import render_plan
    from geoflow.video.options import ReadOptions

    found = make_plan(
        inputs,
        pipeline,
        settings=_settings(set_),
        reading=ReadOptions(fps=fps, size=_size(size), limit=limit),
        gpus=gpus,
        kind=gpu_kind,
        gpu_cost=gpu_cost,
    )
    if as_json:
        _print_json(found)
    else:
        _stdout(width=160).print(render_plan(found))


@app.command()
def doctor(pipeline: PipelineName = "embedded", set_: Settings = None, as_json: AsJson = False) -> None:
    """Say whether a pipeline will run on this machine, and what to do if not; exit status 3 when it cannot."""
    from dataclasses import asdict

    from geoflow.doctor import can_run, gather, judge, render_findings
    from geoflow.pipeline import Pipeline

    pipe = Pipeline.load(pipeline, _settings(set_))
    with _result_alone():
        findings = judge(gather(pipe))
    if as_json:
        rows = [asdict(finding) for finding in findings]
        _print_json({"pipeline": pipe.name, "can_run": can_run(findings), "findings": rows})
    else:
        _stdout(width=160).print(render_findings(pipe.name, findings))
    raise typer.Exit(0 if can_run(findings) else 3)


models = typer.Typer(help="The models that backends use: licences, weights, what they need.", no_args_is_help=True)
app.add_typer(models, name="models")
Names = Annotated[list[str] | None, typer.Argument(metavar="[BACKEND]...", help="default: all")]


@models.command("list")
def models_list(as_json: AsJson = False) -> None:
    """Every backend's licence, weights and needs, and whether its weights are here."""
    from geoflow.registry import describe_models, render_models

    rows = describe_models()
    if as_json:
        _print_json(rows)
    else:
        _stdout(width=160).print(render_models(rows))


@models.command("fetch")
def models_fetch(
    backends: Annotated[list[str], typer.Argument(metavar="BACKEND[:NAME]...", help="such as geometrycrafter:determ")],
) -> None:
    """Download weights at their pinned revisions into the Hugging Face cache ($HF_HOME)."""
    from geoflow import weights
    from geoflow.registry import weights_of

    for label, files in weights_of(backends):
        if files.missing:
            print(f"{label}: fetching {files}", file=sys.stderr)
            weights.fetch(files)
        print(f"{label}: {files.folder}")


@models.command("prefetch")
def models_prefetch(
    pipeline: Annotated[str, typer.Argument(help="name in configs/pipelines/, or a file")],
    set_: Settings = None,
    address: Address = None,
) -> None:
    """Have a pipeline's weights in the Hugging Face cache of every node of a cluster, before a run needs them."""
    from geoflow.prefetch import prefetch

    with _result_alone():
        found = prefetch(pipeline, settings=_settings(set_), address=address)
    print("\n".join(f"{node}: {', '.join(folders)}" for node, folders in found.items()) or "no weights are needed")


@models.command("check")
def models_check(
    backends: Names = None,
    quick: Annotated[bool, typer.Option("--quick", help="that files are there and whole, not their content")] = False,
    as_json: AsJson = False,
) -> None:
    """Check the weights that are here: revision, completeness, SHA-256; exit status 3 when something is wrong."""
    from geoflow.registry import check_models

    found = check_models(backends or [], deep=not quick)
    if as_json:
        _print_json(found)
    else:
        lines = [f"{label}: {', '.join(wrong) or 'right'}" for label, wrong in found.items()]
        print("\n".join(lines) or "no weights are here")
    raise typer.Exit(3 if any(found.values()) else 0)


envs = typer.Typer(help="The environments of stages: what is in them, whether they build.", no_args_is_help=True)
app.add_typer(envs, name="envs")
EnvNames = Annotated[list[str] | None, typer.Argument(metavar="[NAME|FILE]...", help="default: all")]


@envs.command("list")
def envs_list(as_json: AsJson = False) -> None:
    """Every file of runtime_envs/: which stages use it, what it installs."""
    from geoflow.envs import list_environments, render_environments

    rows = list_environments()
    if as_json:
        _print_json(rows)
    else:
        _stdout(width=160).print(render_environments(rows))


@envs.command("check")
def envs_check(names: EnvNames = None, as_json: AsJson = False) -> None:
    """Check the files, without building anything: valid for Ray, packages readable; exit status 3 if not."""
    from geoflow.envs import check_environments

    found = check_environments(names or [])
    if as_json:
        _print_json(found)
    else:
        print("\n".join(f"{name}: {line}" for name, wrong in found.items() for line in wrong or ["right"]))
    raise typer.Exit(3 if any(found.values()) else 0)


@envs.command("build")
def envs_build(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE")],
    backend: Annotated[
        list[str] | None, typer.Option(help="a backend to import in it; default: those that pipelines run in it")
    ] = None,
    load: Annotated[bool, typer.Option("--load", help="load their models, too, which fetches weights")] = False,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Build one for real, start an actor in it and import its stages there: how long, how large, or why not."""
    from dataclasses import asdict

    from geoflow.engine.env_build import build
    from geoflow.envs import backends_of, render_built

    with _result_alone():
        built = build(name, backend or backends_of(name), load=load, address=address)
    if as_json:
        _print_json(asdict(built))
    else:
        print(render_built(built))


worker = typer.Typer(help="Models as child processes of other programs.", no_args_is_help=True)
app.add_typer(worker, name="worker")


@worker.command("moge")
def worker_moge(
    images: Annotated[
        str | None, typer.Argument(metavar="[IN.npy]", help="(B,3,H,W) float32 in 0..1; none: requests on stdin")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="PARAM=VALUE", help="of the moge backend")] = None,
) -> None:
    """Point maps by MoGe: prints {"p": points.npy, "m": mask.npy}. Runs here, where torch and dlr-moge must be."""
    from geoflow.moge_worker import make_stage, serve

    serve(make_stage(**_settings(set_, "PARAM=VALUE")), images)


bench = typer.Typer(help="Measure the figures of the README on this machine.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@bench.command("memory")
def bench_memory(
    out: Out = Path("bench/memory"),
    frames: Annotated[str, typer.Option(help="lengths to compare, separated by commas")] = "200,2000",
    size: Annotated[str, typer.Option(metavar="WxH")] = "640x360",
    pipeline: PipelineName = "embedded",
    set_: Settings = None,
) -> None:
    """Peak private memory of driver and actors on videos of different length; JSON on stdout."""
    from geoflow.bench.memory import memory

    lengths = tuple(int(count) for count in frames.split(","))
    with _result_alone():
        found = memory(
            out.resolve(),
            frames=lengths,
            size=_size(size) or (640, 360),
            pipeline=pipeline,
            settings=tuple(set_ or ()),
            console=_console(),
        )
    _print_json(found)


@bench.command("engine")
def bench_engine(
    out: Out = Path("bench/engine"),
    workloads: Annotated[str, typer.Option(help="names, separated by commas")] = "balanced,skewed,dag,tiny,big,resume",
    engines: Annotated[str | None, typer.Option(help="names, separated by commas; default: all")] = None,
    runs: Annotated[int, typer.Option(min=1, help="of each; the figures are medians")] = 3,
    items: Annotated[int | None, typer.Option(min=2, help="in place of each workload's own number")] = None,
    xenna_python: Annotated[
        str | None, typer.Option(help="interpreter that has cosmos-xenna and what GeoFlow needs; default: this one")
    ] = None,
    timeout: Annotated[float, typer.Option(help="seconds one run may take")] = 600.0,
    as_json: AsJson = False,
) -> None:
    """The executor beside Ray Data, cosmos-xenna and a stage-by-stage script, on pretended GPUs."""
    from geoflow.bench.engine.engines import ENGINES
    from geoflow.bench.engine.run import bench_engines

    with _result_alone():
        found = bench_engines(
            out.resolve(),
            workloads=workloads.split(","),
            engines=engines.split(",") if engines else tuple(ENGINES),
            runs=runs,
            items=items,
            xenna_python=xenna_python,
            timeout=timeout,
            console=_console(),
        )
    if as_json:
        _print_json(found)


@bench.command("observation")
def bench_observation(
    segments: Annotated[int, typer.Option(min=1, help="segments of the made-up run, three stages each")] = 3000,
    pause: Annotated[float, typer.Option(min=0, help="seconds the driver sleeps after each segment")] = 0.0,
) -> None:
    """CPU time per event of the ledger, the metrics and the progress display; JSON on stdout."""
    from geoflow.bench.observation import observation

    _print_json(observation(segments, pause))


@bench.command("scale")
def bench_scale(
    gpus: Annotated[str, typer.Option(help="pretended GPUs, one cluster each, separated by commas")] = "1,2,4,8,16,32",
    items: Annotated[int, typer.Option(min=10, help="segments for each GPU")] = 20,
    segments: Annotated[int, typer.Option(min=0, help="of one very long run; 0: leave it out")] = 100_000,
) -> None:
    """Weak scaling on simulated clusters, and the driver's memory over a very long run; JSON on stdout."""
    from geoflow.bench.scale import many_segments, weak_scaling

    console = _console()
    counts = [int(count) for count in gpus.split(",") if count]
    with _result_alone():
        found: dict[str, Any] = {"weak_scaling": weak_scaling(counts, items, console)}
        if segments:
            found["many_segments"] = many_segments(segments, console)
    _print_json(found)


@bench.command("faults")
def bench_faults(
    out: Out = Path("bench/faults"),
    faults: Annotated[str | None, typer.Option(help="names, separated by commas; default: all")] = None,
    moments: Annotated[str, typer.Option(help="shares of the run, separated by commas")] = "0.1,0.5,0.9",
) -> None:
    """What goes wrong during a run, what comes out all the same, and the time it costs; JSON on stdout."""
    from geoflow.bench.faults.run import FAULTS, bench_faults

    wanted = faults.split(",") if faults else list(FAULTS)
    if unknown := sorted(set(wanted) - set(FAULTS)):
        raise ConfigError(f"unknown faults {unknown}; there are: {', '.join(FAULTS)}")
    shares = [float(moment) for moment in moments.split(",")]
    with _result_alone():
        found = bench_faults(out.resolve(), wanted, shares, _console())
    _print_json(found)


@bench.command("footage")
def bench_footage(
    folder: Annotated[Path, typer.Argument(help="of clips: folders with frames/, depth/ and gt.npz")],
    out: Out = Path("bench/footage"),
    clips: Annotated[str | None, typer.Option(help="names, separated by commas; default: all")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="of each clip; default: all")] = None,
    max_size: Annotated[int | None, typer.Option(min=16, help="px; clips with a longer side are scaled first")] = None,
    known_camera: Annotated[bool, typer.Option("--known-camera", help="give the true intrinsics to the run")] = False,
    without: Annotated[str | None, typer.Option(help="stages to leave out, separated by commas")] = None,
    pipeline: PipelineName = "embedded",
    set_: Settings = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Real clips with ground truth through a pipeline, each scored; benchmarks/footage says where to get some."""
    from geoflow.bench.footage.run import bench_footage
    from geoflow.bench.footage.table import render_rows
    from geoflow.pipeline import Pipeline

    pipe, left_out = Pipeline.load(pipeline), without.split(",") if without else []
    if unknown := sorted(set(left_out) - {spec.slot for spec in pipe.stages}):
        raise ConfigError(f"--without {', '.join(unknown)}: {pipe.name} has no such stage")
    with _result_alone():
        found = bench_footage(
            folder,
            out.resolve(),
            names=clips.split(",") if clips else [],
            frames=frames,
            max_size=max_size,
            known_camera=known_camera,
            pipeline=pipe.without(left_out),
            settings=_settings(set_),
            address=address,
            console=_console(),
        )
    if as_json:
        _print_json(found)
    else:
        _stdout(width=180).print(render_rows(found["clips"]))


@bench.command("hands")
def bench_hands_command(
    folder: Annotated[Path, typer.Argument(help="annotated photos and clips, each in a folder of its own")],
    boxes: Annotated[
        Path | None, typer.Option(help="JSON file with boxes of clips that were only looked through")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="PARAM=VALUE", help="of the hands backend")] = None,
    here: Annotated[bool, typer.Option("--here", help="in this process, which must have mediapipe; no Ray")] = False,
    photos: Annotated[int, typer.Option(min=1, help="at most of one set, evenly spread")] = 150,
    longest: Annotated[
        int, typer.Option(min=32, help="longer side of the pictures, px, as `geoflow run` has it")
    ] = 640,
) -> None:
    """Hands found, how well they lie, which side, 3D error and CPU time; JSON on stdout."""
    from geoflow.bench.hands import bench_hands

    settings = _settings(set_, "PARAM=VALUE")
    with _result_alone():
        found = bench_hands(
            folder,
            boxes=boxes,
            settings=settings,
            here=here,
            most_photos=photos,
            longest=longest,
            console=_console(),
        )
    _print_json(found)


@bench.command("geometry")
def bench_geometry_command(
    frames: Annotated[str, typer.Option(help="lengths to compare, separated by commas")] = "110,440",
    model_type: Annotated[str, typer.Option(help="diff or determ; a GPU does both")] = "determ",
    device: Annotated[str, typer.Option(help="cpu, or a GPU as torch names it: then at full size")] = "cpu",
) -> None:
    """GeometryCrafter in a stream beside the whole video at once: time per frame, peak memory; JSON on stdout."""
    from geoflow.bench.geometry.run import bench_geometry

    lengths = tuple(int(count) for count in frames.split(","))
    with _result_alone():
        found = bench_geometry(frames=lengths, model_type=model_type, device=device, console=_console())
    _print_json(found)


def main() -> NoReturn:
    """Entry point: errors made on purpose become one line and an exit status, never a traceback."""
    try:
        app(standalone_mode=True)
    except (ConfigError, InputError, EnvironmentBroken) as error:
        _complain(error, 2)
    except GeoFlowError as error:
        _complain(error, 3)
    raise SystemExit(0)


def _arguments_of_run(arguments: list[str]) -> dict[str, Any]:
    """What `run` would make of its arguments; it complains as `run` does."""
    command: Any = typer.main.get_command(app)
    return dict(command.commands["run"].make_context("geoflow run", list(arguments)).params)


@contextlib.contextmanager
def _stoppable(
    advice: str = "stopped; what is finished is kept: run the same command again to go on from there",
) -> Iterator[None]:
    """Say how to go on after an interrupt; typer would end with a bare status, which one depends on its version."""
    try:
        with _result_alone():
            yield
    except KeyboardInterrupt:
        print(advice, file=sys.stderr)
        raise typer.Exit(130) from None


def _result_alone() -> contextlib.AbstractContextManager[Any]:
    """Whatever prints meanwhile, such as Ray's own notices, goes to stderr: stdout is for the result."""
    return contextlib.redirect_stdout(sys.stderr)


def _complain(error: Exception, status: int) -> NoReturn:
    print(f"geoflow: {error}", file=sys.stderr)
    raise SystemExit(status)


def _end(result: RunResult, data: dict[str, Any], as_json: bool) -> NoReturn:
    if as_json:
        _print_json(data)
    else:
        print(f"{len(result.complete)} complete, {len(result.failed)} failed: {result.out}")
    raise typer.Exit(result.exit_status)


def _print_json(data: Any) -> None:
    print(json.dumps(data, default=str))


def _console() -> Console:
    from rich.console import Console

    return Console(file=sys.stderr)


def _stdout(width: int | None = None) -> Console:
    """Where results go; `width` is for a file or a pipe, which has none of its own."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else width)


def _settings(pairs: list[str] | None, form: str = "STAGE.PARAM=VALUE") -> dict[str, Any]:
    import yaml

    settings = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair}: write it as {form}")
        settings[key.strip()] = yaml.safe_load(value)
    return settings


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise ConfigError(f"--size {text}: write it as WIDTHxHEIGHT, such as 640x360") from None
    if width < 1 or height < 1:
        raise ConfigError(f"--size {text}: width and height should be positive")
    return width, height


def _intrinsics(text: str | None) -> tuple[float, float, float, float] | None:
    """Four numbers as they are, or a file that holds them or a 3x3 matrix (text, JSON or YAML)."""
    if text is None:
        return None
    path = Path(text)
    source = path.read_text() if path.is_file() else text
    try:
        values = [float(part) for part in source.replace("[", " ").replace("]", " ").replace(",", " ").split()]
    except ValueError:
        values = []
    if len(values) == 9:
        values = [values[0], values[4], values[2], values[5]]
    if len(values) != 4:
        raise ConfigError(f"--intrinsics {text}: expected fx,fy,cx,cy or a file with them or with a 3x3 matrix")
    return values[0], values[1], values[2], values[3]


if __name__ == "__main__":
    main()
