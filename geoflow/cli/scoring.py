"""Commands about ground truth: synth, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoflow.cli.arguments import AsJson, Store, size_of
from geoflow.cli.command import command
from geoflow.cli.output import print_json, result_console
from geoflow.errors import ConfigError

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
    "geoflow evaluate out/videos/clip.h5 --tracks tapvid3d/clip.npz",
)
def evaluate(
    file: Store,
    gt: Annotated[
        Path | None,
        typer.Option("--gt", metavar="TRUTH", help="ground truth of the same clip, as `geoflow synth` writes it"),
    ] = None,
    tracks: Annotated[
        Path | None,
        typer.Option(
            "--tracks",
            metavar="TRUTH",
            help="true point tracks for TAPVid-3D's metrics: an .npz of that benchmark, or a ground truth with tracks "
            "(without it, the tracks of --gt)",
        ),
    ] = None,
    radius: Annotated[
        float,
        typer.Option(
            "--radius",
            metavar="PX",
            min=0,
            help="the nearest track answers a true query up to this distance, in pixels of a picture whose shorter "
            "side is 256; a query without a track counts as missed",
        ),
    ] = 4.0,
    same_frames: Annotated[
        bool,
        typer.Option(
            "--same-frames", help="the clip's file may be another one that shows the same frames, such as a copy"
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score a store against the ground truth of its clip.

    With --tracks alone only the point tracks are scored.
    """
    from geoflow import evaluate as scoring

    if gt is not None:
        scores = scoring.evaluate_store(file, gt, tracks=tracks, same_frames=same_frames, radius_px=radius)
        found, table = scores.to_dict(), scoring.render_table(scores)
    elif tracks is not None:
        points = scoring.evaluate_tracks(file, tracks, same_frames=same_frames, radius_px=radius)
        found, table = points.to_dict(), scoring.render_point_tracks(points)
    else:
        raise ConfigError(
            "nothing to score against; give the clip's truth with --gt, or that of its tracks with --tracks"
        )
    if as_json:
        print_json(found)
    else:
        result_console().print(table)
