"""`geoflow bench`: what the project's own networks take, beside the plain way to compute them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoflow.cli.arguments import (
    Out,
    size_of,
)
from geoflow.cli.command import command
from geoflow.cli.output import error_console, print_json, result_alone
from geoflow.errors import ConfigError

app = typer.Typer()


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
