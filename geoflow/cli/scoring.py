"""Commands about ground truth: synth, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoflow.cli.arguments import AsJson, Store, size_of
from geoflow.cli.command import command
from geoflow.cli.output import print_json, result_console

app = typer.Typer()


@command(
    app,
    "geoflow synth clip.mp4",
    "geoflow synth rotation.mp4 --motion rotate --frames 60 --size 640x480",
)
def synth(
    video: Annotated[
        Path,
        typer.Argument(metavar="CLIP.mp4", help="video to write; the ground truth is written beside it as .gt.h5"),
    ],
    frames: Annotated[int, typer.Option(metavar="N", min=2, help="length of the clip")] = 120,
    size: Annotated[str, typer.Option(metavar="WxH", help="size of its frames")] = "320x240",
    fps: Annotated[float, typer.Option(metavar="RATE", min=0.1, help="its frame rate")] = 30.0,
    motion: Annotated[
        str, typer.Option(metavar="NAME", help="the camera's motion: handheld, orbit, still or rotate")
    ] = "handheld",
    moving: Annotated[int, typer.Option(metavar="N", min=0, help="number of moving objects")] = 1,
    seed: Annotated[int, typer.Option(metavar="N", help="chooses another scene and camera path")] = 0,
) -> None:
    """Render a made-up clip whose depth, poses and tracks are known."""
    from geoflow.synth import render_clip

    width, height = size_of(size) or (320, 240)
    truth = video.with_suffix(".gt.h5")
    render_clip(
        video, truth, num_frames=frames, width=width, height=height, fps=fps, motion=motion, moving=moving, seed=seed
    )
    print(f"{video}\n{truth}")


@command(
    app,
    "geoflow evaluate out/videos/clip.h5 --gt clip.gt.h5",
    "geoflow evaluate out/videos/clip.h5 --gt clip.gt.h5 --json",
)
def evaluate(
    file: Store,
    gt: Annotated[
        Path, typer.Option("--gt", metavar="TRUTH", help="ground truth of the same clip, as `geoflow synth` writes it")
    ],
    same_frames: Annotated[
        bool,
        typer.Option(
            "--same-frames", help="the clip's file may be another one that shows the same frames, such as a copy"
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score a store against the ground truth of its clip."""
    from geoflow.evaluate import evaluate_store, render_table

    scores = evaluate_store(file, gt, same_frames=same_frames)
    if as_json:
        print_json(scores.to_dict())
    else:
        result_console().print(render_table(scores))
