"""`geoflow bench`: how good results are, on clips with a truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoflow.cli.arguments import (
    Address,
    AsJson,
    Out,
    PipelineName,
    Settings,
    Without,
    settings_of,
    stages_of,
)
from geoflow.cli.command import command
from geoflow.cli.output import error_console, print_json, result_alone, result_console
from geoflow.errors import ConfigError

app = typer.Typer()


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
