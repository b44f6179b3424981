"""`geoflow plan`: what a run would do, worked out without Ray."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geoflow.engine.graph import Graph, expected_bytes
from geoflow.engine.profile import apply_profile, known_stages
from geoflow.engine.schedule import PoolNeed, size_pools
from geoflow.errors import GeoFlowError
from geoflow.inputs import expand_inputs
from geoflow.pipeline import Pipeline
from geoflow.segments import count_segments, plan_segments
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe


def make_plan(
    inputs: Sequence[str | Path], pipeline: str = "embedded", *, settings: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Inputs with their frames and segments, stages with their pools on this machine's CPUs, memory per segment.

    Pools are sized as a run would size them after the earlier ones on this machine, whose times are told as well.
    """
    pipe = Pipeline.load(pipeline, settings)
    known = known_stages(pipe)
    pipe = apply_profile(pipe)
    stages = [spec.make_stage() for spec in pipe.stages]
    graph = Graph.build([(spec.slot, stage, spec.optional) for spec, stage in zip(pipe.stages, stages)])
    needs = [PoolNeed(s.slot, s.num_cpus, s.weight, stage.ordered, s.actors) for s, stage in zip(pipe.stages, stages)]
    sizes = size_pools(needs, cpus=os.cpu_count() or 1)
    items, rejected = expand_inputs(inputs)
    options = ReadOptions(long_side=getattr(stages[0].params, "long_side", None))
    videos: list[dict[str, Any]] = []
    for item in items:
        try:
            info, _ = probe(item.source, item.name, options)
        except GeoFlowError as error:
            videos.append({"name": item.name, "problem": str(error)})
            continue
        first = next(plan_segments(info, pipe.segment.size, pipe.segment.overlap))
        videos.append(
            {
                "name": info.name,
                "frames": info.num_frames,
                "size": f"{info.width}x{info.height}",
                "segments": count_segments(info.num_frames, pipe.segment.size, pipe.segment.overlap),
                "segment_bytes": expected_bytes(graph, len(first), first.video.height, first.video.width),
            }
        )
    return {
        "pipeline": pipe.name,
        "stages": [
            {
                "slot": spec.slot,
                "backend": spec.backend,
                "environment": spec.env or "geoflow's own",
                "actors": sizes[spec.slot].actors,
                "threads": sizes[spec.slot].threads,
                "seconds_per_segment": known[spec.slot].seconds if spec.slot in known else None,
                "gpu_share": spec.num_gpus,
                "gpu_memory": spec.num_gpus if spec.gpu_memory is None else spec.gpu_memory,
                "optional": spec.optional,
            }
            for spec in pipe.stages
        ],
        "videos": videos + [{"name": r.source, "problem": r.reason} for r in rejected],
    }


def render_plan(plan: dict[str, Any]) -> Any:
    """The plan as two tables for the console."""
    from rich.console import Group
    from rich.table import Table

    columns = ("slot", "backend", "environment", "actors", "threads", "s/segment")
    stages = Table(*columns, title=f"pipeline {plan['pipeline']}")
    for row in plan["stages"]:
        name = row["slot"] + (" (optional)" if row["optional"] else "")
        seconds = "" if row["seconds_per_segment"] is None else f"{row['seconds_per_segment']:.2f}"
        stages.add_row(name, row["backend"], row["environment"], str(row["actors"]), str(row["threads"]), seconds)
    videos = Table("video", "frames", "size", "segments", "MB per segment", title="inputs")
    for row in plan["videos"]:
        if "problem" in row:
            videos.add_row(row["name"], f"[red]{row['problem']}")
        else:
            megabytes = f"{row['segment_bytes'] / 1e6:.0f}"
            videos.add_row(row["name"], str(row["frames"]), row["size"], str(row["segments"]), megabytes)
    return Group(stages, videos)
