"""`geoflow bench footage`: every clip of a folder through a pipeline, with scores and CPU time, one row each."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import geoflow
from geoflow.bench.footage.clips import Prepared, find_clips, prepare
from geoflow.bench.footage.footage_summary import untrue
from geoflow.errors import GeoFlowError
from geoflow.observe.events import iter_events
from geoflow.observe.ledger import last_run
from geoflow.pipeline import Pipeline
from geoflow.store.paths import RunPaths
from geoflow.store.whole import write_whole

if TYPE_CHECKING:
    from rich.console import Console


def bench_footage(
    folder: Path,
    out: Path,
    *,
    names: Sequence[str] = (),
    frames: int | None = None,
    max_size: int | None = None,
    known_camera: bool = False,
    pipeline: Pipeline,
    settings: dict[str, Any] | None = None,
    address: str | None = None,
    console: Console,
) -> dict[str, Any]:
    """Run and score the clips one after the other on one Ray; return the content of `out/footage.json`.

    `frames` and `max_size` cut and shrink clips beforehand; `known_camera` gives the run the true intrinsics. A clip
    that fails has a row with its reason, and `untrue` the sentences about stores far from the truth. Each clip's run is
    in `out/NAME`, with its scores and report.
    """
    from geoflow.cluster.session import ray_cluster

    clips = find_clips(folder, names)
    found: dict[str, Any] = {
        "pipeline": pipeline.name,
        "slots": [spec.slot for spec in pipeline.stages],
        "settings": settings or {},
        "frames": frames,
        "max_size": max_size,
        "known_camera": known_camera,
        "cpus": len(os.sched_getaffinity(0)),
        "clips": [],
        "untrue": [],
    }
    with ray_cluster(address):
        for clip in clips:
            row: dict[str, Any] = {"clip": clip.name}
            try:
                prepared = prepare(clip, out, frames=frames, max_size=max_size)
                row |= _described(prepared)
                row |= _run(prepared, out / clip.name, pipeline, settings, known_camera, console)
            except GeoFlowError as error:
                row |= {"status": "failed", "reason": str(error)}
            except Exception as error:  # one clip must not stop the others
                row |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
            found["clips"].append(row)
            found["untrue"] = untrue(found["clips"])
            console.print(f"{clip.name}: {row['status']}", row["reason"], markup=False)
            write_whole(out / "footage.json", json.dumps(found, indent=1).encode())
    return found


def _described(prepared: Prepared) -> dict[str, Any]:
    return {
        "frames": prepared.frames,
        "size": list(prepared.size),
        "fps": prepared.fps,
        "notes": list(prepared.notes),
    }


def _run(
    prepared: Prepared,
    out: Path,
    pipeline: Pipeline,
    settings: dict[str, Any] | None,
    known_camera: bool,
    console: Console,
) -> dict[str, Any]:
    """Run the pipeline on one clip, score it and write its report; return the entries of its row."""
    from geoflow.evaluate import evaluate_store
    from geoflow.report import write_report

    k, camera = prepared.intrinsics, None
    if known_camera and np.isfinite(k).all():
        camera = (float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]))
    began, driver = time.monotonic(), time.process_time()
    result = geoflow.run(
        prepared.source,
        out,
        pipeline,
        settings=settings,
        fps=prepared.fps,
        limit=prepared.frames,
        intrinsics=camera,
        resume=False,
        console=console,
    )
    driver = time.process_time() - driver
    (video,) = result.videos
    paths = RunPaths(out)
    row: dict[str, Any] = {
        "status": video.status,
        "reason": video.reason,
        "disabled": result.disabled,
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds_per_frame": cpu_seconds_per_frame(paths.events, prepared.frames, driver),
    }
    if video.status == "complete":
        began = time.monotonic()
        scores = evaluate_store(video.path, prepared.truth).to_dict()
        write_whole(paths.scores, json.dumps({video.name: scores}, indent=1).encode())
        write_report(out)
        row["scores"] = {name: value for name, value in scores.items() if name != "curves"}
        row["scoring_seconds"] = round(time.monotonic() - began, 1)
    return row


def cpu_seconds_per_frame(events: Path, frames: int, driver_seconds: float) -> dict[str, float]:
    """Return the CPU seconds per frame that the latest run in a ledger took, by stage, and those of the driver.

    Failed calls that were repeated are not included, nor is the start of an actor.
    """
    total: dict[str, float] = defaultdict(float, driver=driver_seconds)
    for event in iter_events(events, last_run(events)):
        if event["event"] == "stage_done":
            total[event["slot"]] += event.get("cpu_seconds", 0.0)
    return {slot: round(seconds / frames, 4) for slot, seconds in total.items()}
