"""Commands about ground truth: synth, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoflow.cli.arguments import AsJson, size_of
from geoflow.cli.output import print_json, result_console

app = typer.Typer()


@app.command()
def synth(
    video: Annotated[Path, typer.Argument(help="the .mp4 to write; the ground truth is written beside it as .gt.h5")],
    frames: Annotated[int, typer.Option(min=2)] = 120,
    size: Annotated[str, typer.Option(metavar="WxH")] = "320x240",
    fps: Annotated[float, typer.Option(min=0.1)] = 30.0,
    motion: Annotated[str, typer.Option(help="handheld, orbit, still or rotate")] = "handheld",
    moving: Annotated[int, typer.Option(min=0, help="moving objects")] = 1,
    seed: int = 0,
) -> None:
    """Render a procedural scene with exact depth, poses and tracks."""
    from geoflow.synth import render_clip

    width, height = size_of(size) or (320, 240)
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
        print_json(scores.to_dict())
    else:
        result_console().print(render_table(scores))
