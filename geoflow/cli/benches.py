"""`geoflow bench`: the figures of the documentation, measured on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geoflow.cli.arguments import (
    Address,
    AsJson,
    Out,
    PipelineName,
    Settings,
    Without,
    settings_of,
    size_of,
    stages_of,
)
from geoflow.cli.command import command, examples
from geoflow.cli.output import error_console, print_json, result_alone, result_console
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


@command(app, "geoflow bench jittor", "geoflow bench jittor -o bench/jittor", name="jittor")
def bench_jittor(out: Out = Path("bench/jittor")) -> None:
    """Compile Jittor and the kernels of GeometryCrafter anew, and start processes that find them.

    It takes about ten minutes of one CPU; JSON on stdout.
    """
    from geoflow.bench.jittor_bench import bench_jittor as bench

    with result_alone():
        found = bench(out.resolve(), error_console())
    print_json(found)


@command(
    app,
    "geoflow bench quality",
    "geoflow bench quality --clips clips/ --figure quality.png",
    name="quality",
)
def bench_quality(
    out: Out = Path("bench/quality"),
    clips: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="real clips, too: the folder that `bench footage` takes")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="measure the quality of the stores in OUT anew")] = False,
    figure: Annotated[Path | None, typer.Option(metavar="FILE.png", help="draw quality beside the errors")] = None,
    as_json: AsJson = False,
) -> None:
    """Hold `quality` against true errors.

    The embedded pipeline runs on small clips of different character. It writes OUT/quality.json.
    """
    from geoflow.bench.quality.calibration_figure import draw_calibration
    from geoflow.bench.quality.quality_bench import bench_quality as measure

    with result_alone():
        found = measure(out.resolve(), clips=clips, again=again, console=error_console())
    if figure is not None:
        draw_calibration(found["segments"], found["spearman"], figure)
    if as_json:
        print_json(found)
        return
    for name, errors in found["spearman"].items():
        said = [f"{error} {row['all']} ({row['known']} where known)" for error, row in errors.items()]
        print(f"{name}: {', '.join(said)}; {errors['abs_rel']['segments']} segments")


@command(
    app,
    "geoflow bench footage clips/",
    "geoflow bench footage clips/ --clips desk,room --without hands,tracks",
    name="footage",
)
def bench_footage(
    folder: Annotated[Path, typer.Argument(help="folder of clips: folders with frames/, depth/ and gt.npz")],
    out: Out = Path("bench/footage"),
    clips: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="names, separated by commas; default: all")
    ] = None,
    frames: Annotated[int | None, typer.Option(metavar="N", min=1, help="frames of each clip; default: all")] = None,
    max_size: Annotated[
        int | None, typer.Option(metavar="PIXELS", min=16, help="px; clips with a longer side are scaled first")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="footage.json of an earlier bench, to compare with")
    ] = None,
    known_camera: Annotated[bool, typer.Option("--known-camera", help="give the true intrinsics to the run")] = False,
    pipeline: PipelineName = "embedded",
    set_: Settings = None,
    without: Without = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline on real clips and score them.

    The clips have ground truth; benchmarks/footage says where to get such clips.
    """
    from geoflow.bench.footage.footage_bench import bench_footage
    from geoflow.bench.footage.footage_summary import read_baseline, render_summary
    from geoflow.bench.footage.footage_table import render_rows
    from geoflow.pipeline import Pipeline

    before = read_baseline(baseline) if baseline else None
    with result_alone():
        found = bench_footage(
            folder,
            out.resolve(),
            names=clips.split(",") if clips else [],
            frames=frames,
            max_size=max_size,
            known_camera=known_camera,
            pipeline=Pipeline.load(pipeline).without(stages_of(without)),
            settings=settings_of(set_),
            address=address,
            console=error_console(),
        )
    if as_json:
        print_json(found)
    else:
        console = result_console(width=260)
        console.print(render_rows(found["clips"]))
        console.print(render_summary(found, before))


@command(
    app,
    "geoflow bench reversal",
    "geoflow bench reversal --seeds 10 --drawn",
    name="reversal",
)
def bench_reversal_command(
    out: Out = Path("bench/reversal"),
    recipes: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="names, separated by commas; default: all")
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="films of each recipe")] = 100,
    first: Annotated[int, typer.Option(metavar="N", min=0, help="the first seed")] = 0,
    drawn: Annotated[bool, typer.Option("--drawn", help="draw pictures and follow them; slower")] = False,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="processes")] = 2,
    fresh: Annotated[bool, typer.Option("--fresh", help="measure again, also films that OUT already holds")] = False,
    as_json: AsJson = False,
) -> None:
    """Count films that come out reversed or are refused.

    The films are made up so that they tempt into exchanging near and far.
    """
    from geoflow.bench.reversal.reversal_bench import bench_reversal
    from geoflow.bench.reversal.reversal_table import render_reversals
    from geoflow.synth.films import RECIPES

    with result_alone():
        found = bench_reversal(
            out.resolve(),
            recipes=recipes.split(",") if recipes else list(RECIPES),
            seeds=range(first, first + seeds),
            drawn=drawn,
            workers=workers,
            fresh=fresh,
            console=error_console(),
        )
    if as_json:
        print_json(found)
    else:
        result_console(width=180).print(render_reversals(found))


@command(
    app,
    "geoflow bench hands photos/",
    "geoflow bench hands photos/ --here --photos 50",
    name="hands",
)
def bench_hands_command(
    folder: Annotated[Path, typer.Argument(help="annotated photos and clips, each in its own folder")],
    boxes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON file with boxes for clips that have no other annotations"),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="PARAM=VALUE", help="of the hands backend")] = None,
    here: Annotated[bool, typer.Option("--here", help="in this process (needs mediapipe), without Ray")] = False,
    photos: Annotated[int, typer.Option(metavar="N", min=1, help="photos of one set at most, evenly spread")] = 150,
    longest: Annotated[
        int, typer.Option(metavar="PIXELS", min=32, help="longer side of the pictures in px, as in `geoflow run`")
    ] = 640,
) -> None:
    """Measure how well hands are found.

    It is the share found, their position, left or right, 3D error and CPU time; JSON on stdout.
    """
    from geoflow.bench.hand_bench import bench_hands

    settings = settings_of(set_, "PARAM=VALUE")
    with result_alone():
        found = bench_hands(
            folder,
            boxes=boxes,
            settings=settings,
            here=here,
            most_photos=photos,
            longest=longest,
            console=error_console(),
        )
    print_json(found)


@command(
    app,
    "geoflow bench geometry",
    "geoflow bench geometry --model-type diff --device cuda",
    name="geometry",
)
def bench_geometry_command(
    frames: Annotated[str, typer.Option(metavar="N,...", help="lengths to compare, separated by commas")] = "110,440",
    model_type: Annotated[
        str, typer.Option(metavar="NAME", help="diff or determ; on a GPU both are possible")
    ] = "determ",
    device: Annotated[
        str, typer.Option(metavar="NAME", help="cpu, or a GPU as torch names it (runs at full size)")
    ] = "cpu",
) -> None:
    """Compare GeometryCrafter as a stream and in one piece.

    It is the time per frame and the peak memory; JSON on stdout.
    """
    from geoflow.bench.geometry.geometry_bench import bench_geometry

    lengths = tuple(int(count) for count in frames.split(","))
    with result_alone():
        found = bench_geometry(frames=lengths, model_type=model_type, device=device, console=error_console())
    print_json(found)


@command(
    app,
    "geoflow bench tracking",
    "geoflow bench tracking --queries 64 --iterations 2 --lengths 48,480",
    name="tracking",
)
def bench_tracking_command(
    queries: Annotated[str, typer.Option(metavar="N,...", help="numbers of points to follow")] = "64,1024",
    frames: Annotated[int, typer.Option(metavar="N", min=1, help="frames of the clip")] = 48,
    size: Annotated[str, typer.Option(metavar="WxH", help="px at which the network works")] = "256x192",
    iterations: Annotated[int, typer.Option(metavar="N", min=1, help="refinements of each window")] = 6,
    lengths: Annotated[str, typer.Option(metavar="N,...", help="frames of clips whose memory is compared")] = "48,480",
) -> None:
    """Compare the 3D tracker with its arithmetic as written down.

    Time and peak memory on the CPU, with made-up weights of the published size; JSON on stdout.
    """
    from geoflow.bench.tracking.tracking_bench import bench_tracking

    with result_alone():
        found = bench_tracking(
            queries=tuple(int(count) for count in queries.split(",")),
            frames=frames,
            size=size_of(size) or (256, 192),
            iterations=iterations,
            lengths=tuple(int(count) for count in lengths.split(",")),
            console=error_console(),
        )
    print_json(found)


@command(app, "geoflow bench sam2", "geoflow bench sam2 --frames 100 --objects 1 --size 128", name="sam2")
def bench_sam2_command(
    frames: Annotated[int, typer.Option(metavar="N", min=50, help="frames of the video")] = 500,
    objects: Annotated[int, typer.Option(metavar="N", min=1, help="objects that are followed")] = 3,
    size: Annotated[int, typer.Option(metavar="PX", min=64, help="px at which the network works")] = 256,
) -> None:
    """Compare SAM 2's memory with that of an unpruned session.

    On the CPU, with a small network of made-up weights; JSON on stdout.
    """
    from geoflow.bench.sam2.sam2_bench import bench_sam2

    with result_alone():
        found = bench_sam2(frames=frames, objects=objects, size=size, console=error_console())
    print_json(found)


@command(
    app,
    "geoflow bench loops",
    "geoflow bench loops --seeds 1 --walks returns",
    name="loops",
)
def bench_loops_command(
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="noises that each walk is taken with")] = 5,
    walks: Annotated[
        str, typer.Option(metavar="NAME,...", help="names, separated by commas")
    ] = "returns,no return,alike,alike returns",
) -> None:
    """Measure paths of walks before and after loops are closed.

    JSON on stdout. A camera walks round a made-up corridor; its poses and depth are the truth with noise and drift.
    """
    from geoflow.bench.loops.closing_bench import WALKS, bench_loops

    names = walks.split(",")
    if unknown := [name for name in names if name not in WALKS]:
        raise ConfigError(f"bench loops has no walk {unknown[0]!r}; it has: {', '.join(WALKS)}")
    with result_alone():
        found = bench_loops(range(seeds), names)
    print_json(found)


@command(
    app,
    "geoflow bench streaming",
    "geoflow bench streaming --frames 4 --size 112x84",
    name="streaming",
)
def bench_streaming_command(
    frames: Annotated[int, typer.Option(metavar="N", min=1, help="frames that are measured, with a full cache")] = 16,
    size: Annotated[
        str, typer.Option(metavar="WxH", help="px at which the network works, multiples of 14")
    ] = "224x168",
    window: Annotated[int, typer.Option(metavar="N", min=1, help="kept frames that are seen with all tokens")] = 24,
    videos: Annotated[int, typer.Option(metavar="N", min=2, help="videos that go side by side")] = 4,
) -> None:
    """Compare the streaming camera network with a plain cache, and videos side by side with one alone.

    Time and peak memory on the CPU, with made-up weights of a middle size; JSON on stdout.
    """
    from geoflow.bench.streaming.streaming_bench import bench_streaming

    with result_alone():
        sizes = size_of(size) or (224, 168)
        found = bench_streaming(frames=frames, size=sizes, window=window, videos=videos, console=error_console())
    print_json(found)


@command(
    app,
    "geoflow bench slam",
    "geoflow bench slam --parts adjustment",
    "geoflow bench slam --parts memory --frames 100,400 --size 320x240",
    name="slam",
)
def bench_slam_command(
    parts: Annotated[
        str, typer.Option(metavar="NAME,...", help="what to measure, separated by commas")
    ] = "memory,loops,adjustment",
    frames: Annotated[str, typer.Option(metavar="N,...", help="walks whose memory is compared")] = "200,2000",
    size: Annotated[str, typer.Option(metavar="WxH", help="size of their frames, px")] = "640x360",
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="walks of each kind, with and without returns")] = 10,
) -> None:
    """Measure the camera tracker: memory, loops, adjustment.

    Peak memory over a walk's length, errors of paths before and after their loops are closed, and CPU time of an
    adjustment, beside its plain arithmetic. In the network's place answers the truth with noise; JSON on stdout.
    """
    from geoflow.bench.slam.slam_bench import PARTS, bench_slam

    wanted = parts.split(",")
    if unknown := sorted(set(wanted) - set(PARTS)):
        raise ConfigError(f"unknown parts {unknown}; there are: {', '.join(PARTS)}")
    with result_alone():
        found = bench_slam(
            parts=wanted,
            frames=tuple(int(count) for count in frames.split(",")),
            size=size_of(size) or (640, 360),
            seeds=range(seeds),
            console=error_console(),
        )
    print_json(found)


@command(
    app,
    "geoflow bench hand-model",
    "geoflow bench hand-model --hands 16 --batch 16 --depth 1 --size 640x360",
    name="hand-model",
)
def bench_hand_model_command(
    hands: Annotated[int, typer.Option(metavar="N", min=1, help="hands in one image")] = 64,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="hands computed at once")] = 64,
    depth: Annotated[int, typer.Option(metavar="N", min=1, help="layers; the published network has 32")] = 4,
    size: Annotated[str, typer.Option(metavar="WxH", help="px of the image")] = "1280x720",
) -> None:
    """Compare WiLoR in batches with its plain arithmetic.

    The latter takes one hand after the other, as it is written down. CPU time per hand and peak memory, with made-up
    weights of the published width; JSON on stdout.
    """
    from geoflow.bench.hand_model.hand_model_bench import bench_hand_model

    with result_alone():
        found = bench_hand_model(
            hands=hands, batch=batch, depth=depth, size=size_of(size) or (1280, 720), console=error_console()
        )
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


@command(
    app,
    "geoflow bench masks",
    "geoflow bench masks --kinds hidden --seeds 7 --depths noisy --prompt box",
    name="masks",
)
def bench_masks_command(
    kinds: Annotated[
        str, typer.Option(metavar="NAME,...", help="clips: handheld, orbit, hidden (an object passes behind a pillar)")
    ] = "handheld,orbit,hidden",
    seeds: Annotated[str, typer.Option(metavar="N,...", help="seeds of the rooms; a clip of each kind for each")] = "1",
    depths: Annotated[
        str, typer.Option(metavar="NAME,...", help="noisy: the true depth with noise; none; own: of the camera stage")
    ] = "noisy,none",
    prompt: Annotated[
        str, typer.Option(metavar="NAME", help="what is shown in the first frame: label images, or a box per object")
    ] = "label",
    frames: Annotated[int, typer.Option(metavar="N", min=2, help="frames of each clip")] = 60,
) -> None:
    """Score the embedded masks of objects on rendered clips. JSON on stdout."""
    from geoflow.bench.masks.mask_bench import bench_masks

    with result_alone():
        found = bench_masks(
            kinds=kinds.split(","),
            seeds=[int(seed) for seed in seeds.split(",")],
            depths=depths.split(","),
            prompt=prompt,
            num_frames=frames,
            console=error_console(),
        )
    print_json(found)
