"""`geoflow plan`: what a run would do and cost, calculated without Ray."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from geoflow.backends.catalogue import licence_of, load_models, stage_weights
from geoflow.cluster.machine import memory, object_store
from geoflow.cluster.session import BUDGET_SHARE
from geoflow.engine.gpu.nvml import gpu_kind, list_gpus
from geoflow.engine.gpu.residency import Residency
from geoflow.engine.graph import Graph, expected_bytes
from geoflow.engine.profile import Measured, apply_profile, known_stages
from geoflow.engine.schedule import PoolSize
from geoflow.engine.sizing import size_all_pools
from geoflow.engine.spans import plan_spans
from geoflow.environments import interpreter
from geoflow.environments.environment import load_runtime_env
from geoflow.errors import GeoFlowError, InputError
from geoflow.pipeline import AUTO, Pipeline, StageSpec
from geoflow.planning.costs import Estimate, StageCost, VideoWork, bottleneck, price, together, work_of
from geoflow.planning.gpu_counts import what_gpus_save
from geoflow.planning.preflight import check_cameras, check_masks
from geoflow.planning.shown_objects import carries_objects, check_objects, without_idle
from geoflow.planning.stated import as_heeded, heeds
from geoflow.segments import Prompt, VideoInfo, count_segments, plan_segments
from geoflow.stage import Stage
from geoflow.video.described import describe_input
from geoflow.video.inputs import expand_inputs, listed
from geoflow.video.left_out import left_out
from geoflow.video.options import ReadOptions, read_options

OWN_ENVIRONMENT = "geoflow's own"
_MOST_REASONS = 10  # inputs that one error names


def make_plan(
    inputs: str | Path | Sequence[str | Path],
    pipeline: str | Path | Pipeline = "embedded",
    *,
    settings: dict[str, Any] | None = None,
    reading: ReadOptions | None = None,
    gpus: int | None = None,
    kind: str | None = None,
    gpu_cost: float | None = None,
) -> dict[str, Any]:
    """Return the plan: stages with their pools, environments, licences and weights; inputs with their segments; all
    work.

    Pools are sized as a run would size them, with this machine's CPUs and `gpus` GPUs of a `kind` (by default this
    machine's; one GPU if it has none). Times come from earlier runs from this machine; what they do not tell is None.
    `gpu_cost` is in dollars per GPU and hour. An input that cannot be used has a `problem`.

    Raises ConfigError for what a run would refuse, InputError if no input can be used, and EnvironmentBroken if the
    models do not fit.
    """
    here = list_gpus()
    kind = (gpu_kind() if here else "") if kind is None else kind
    pipe = pipeline if isinstance(pipeline, Pipeline) else Pipeline.load(pipeline)
    pipe = pipe.with_settings(settings or {})
    reading = read_options(pipe.reading, asdict(reading) if reading else {})
    pipe = without_idle(pipe, reading.objects)
    known = known_stages(pipe, kind)
    pipe = apply_profile(pipe, kind)
    stages = [spec.make_stage() for spec in pipe.stages]
    graph = Graph.build([(spec.slot, stage, spec.optional) for spec, stage in zip(pipe.stages, stages)])
    counted = len(here) if gpus is None else gpus
    usable = min(counted, pipe.max_gpus or counted)
    costs = [_cost(spec, known.get(spec.slot)) for spec in pipe.stages]
    videos, works = _videos(inputs, pipe, stages, reading, costs)
    if not works:
        raise InputError(f"nothing to do: {_reasons(videos)}")
    resident = Residency(pipe.stages, stages, usable, graph=graph, videos=len(works)).plan
    sizes = size_all_pools(pipe.stages, stages, resident, cpus=os.cpu_count() or 1, gpus=usable, videos=len(works))
    sources = [item.source for item in expand_inputs(listed(inputs), reading.pattern)[0]]
    whole = together([estimate for _, estimate in works])
    segments = sum(row["segments"] for row in videos if "problem" not in row)
    return {
        "pipeline": pipe.name,
        "machine": {
            "cpus": os.cpu_count() or 1,
            "gpus": len(here),
            "gpu_kind": kind,
            "budget_bytes": int(BUDGET_SHARE * object_store(memory())),  # for segments in flight, with Ray's defaults
        },
        "segment": pipe.segment.model_dump(),
        "gpus": resident,
        "gpu_counts": what_gpus_save(pipe, stages, graph, whole, videos=len(works), segments=segments, gpus=usable),
        "stages": [_stage(spec, sizes[spec.slot], known.get(spec.slot)) for spec in pipe.stages],
        "videos": videos,
        "left_out": [f"{folder}: {reason}" for folder, reason in left_out(listed(inputs), sources)],
        "total": _total(whole, [work for work, _ in works], sizes, gpu_cost),
    }


def _reasons(videos: list[dict[str, Any]]) -> str:
    """Return why no input can be used, in one line."""
    shown = [f"{row['name']}: {row['problem']}" for row in videos[:_MOST_REASONS]]
    more = len(videos) - len(shown)
    return ("; ".join(shown) or "no input was given") + (f"; and {more} more" if more else "")


def _cost(spec: StageSpec, known: Measured | None) -> StageCost:
    share = None if spec.num_gpus == AUTO else float(spec.num_gpus)
    if known is None or not known.seconds_per_frame:
        return StageCost(spec.slot, None, 0, share)
    return StageCost(spec.slot, known.seconds_per_frame, known.pixels, share)


def _stage(spec: StageSpec, size: PoolSize, known: Measured | None) -> dict[str, Any]:
    entry, (licence, commercial) = load_models().get(spec.backend), licence_of(spec)
    return {
        "slot": spec.slot,
        "backend": spec.backend,
        "span": spec.stage_class().span,
        "optional": spec.optional,
        "device": "GPU" if spec.num_gpus else "CPU",
        "gpu_share": spec.num_gpus,
        "gpu_memory": spec.num_gpus if spec.gpu_memory is None else spec.gpu_memory,
        "actors": size.actors,
        "threads": size.threads,
        "environment": spec.env or OWN_ENVIRONMENT,
        "interpreter": _interpreter(spec),
        "licence": licence,
        "commercial": commercial,
        "weights": stage_weights(spec),
        "memory": entry.memory if entry else None,
        "seconds_per_segment": known.seconds if known else None,
        "seconds_per_frame": known.seconds_per_frame or None if known else None,
        "measured_pixels": known.pixels or None if known else None,
    }


def _interpreter(spec: StageSpec) -> str | None:
    """Return the Python that a stage runs in if it is not Ray's."""
    foreign = interpreter.wanted(load_runtime_env(spec.env)) if spec.env else None
    return None if foreign is None else str(foreign)


def _videos(
    inputs: str | Path | Sequence[str | Path],
    pipe: Pipeline,
    stages: list[Stage],
    reading: ReadOptions,
    costs: list[StageCost],
) -> tuple[list[dict[str, Any]], list[tuple[VideoWork, Estimate]]]:
    graph = Graph.build([(spec.slot, stage, spec.optional) for spec, stage in zip(pipe.stages, stages)])
    if reading.size is None:
        reading = ReadOptions(**{**vars(reading), "long_side": getattr(stages[0].params, "long_side", None)})
    items, rejected = expand_inputs(listed(inputs), reading.pattern)
    names = [item.name for item in items]
    prompts: dict[str, tuple[Prompt, ...]] = {}
    if items:
        check_masks(reading.masks, names)
        prompts = check_objects(reading.objects, names, pipe)
        reading = replace(reading, objects=None if prompts else reading.objects)
        check_cameras(reading.cameras, names)
    heeded = heeds(pipe)
    rows: list[dict[str, Any]] = []
    works = []
    for item in items:
        try:
            info = as_heeded(describe_input(item, reading, prompts, carries=carries_objects(pipe))[0], heeded)
        except GeoFlowError as error:
            rows.append({"name": item.name, "problem": str(error)})
            continue
        row, work = _video(info, pipe, graph)
        estimate = work_of(costs, work)
        works.append((work, estimate))
        rows.append({**row, "seconds": estimate.seconds, "at_most": estimate.at_most})
    return rows + [{"name": r.source, "problem": r.reason} for r in rejected], works


def _video(info: VideoInfo, pipe: Pipeline, graph: Graph) -> tuple[dict[str, Any], VideoWork]:
    size, overlap = pipe.segment.size, pipe.segment.overlap
    count = count_segments(info.num_frames, size, overlap)
    longest = len(next(plan_segments(info, size, overlap)))
    plays = info.num_frames / info.fps
    row = {
        "name": info.name,
        "frames": info.num_frames,
        "size": f"{info.width}x{info.height}",
        "plays_seconds": plays,
        "notes": list(info.notes),
        "segments": count,
        "spans": _spans(info, pipe, graph),
        "segment_bytes": expected_bytes(graph, longest, info.height, info.width),
    }
    return row, VideoWork(info.num_frames + (count - 1) * overlap, info.height * info.width, plays)


def _spans(info: VideoInfo, pipe: Pipeline, graph: Graph) -> dict[str, dict[str, Any]]:
    """Slot -> what its stage surveys before it works on segments: spans of which kind, how many, of how many frames."""
    planned = plan_spans(graph, info, pipe.segment.size, pipe.segment.overlap)
    return {
        graph.steps[step].slot: {"kind": spans[0].kind, "count": len(spans), "frames": sum(map(len, spans))}
        for step, spans in planned.items()
    }


def _total(
    whole: Estimate, works: list[VideoWork], sizes: dict[str, PoolSize], gpu_cost: float | None
) -> dict[str, Any]:
    plays = sum(work.seconds for work in works)
    limit = bottleneck(whole.by_slot, {slot: size.actors for slot, size in sizes.items()})
    found: dict[str, Any] = {
        "video_hours": plays / 3600,
        "seconds": whole.seconds,
        "seconds_by_stage": whole.by_slot,
        "unknown": whole.unknown,
        "at_most": whole.at_most,
        "limit_seconds": limit[1] if limit else None,
        "limited_by": limit[0] if limit else None,
        "gpu_hours": None if whole.gpu_seconds is None else whole.gpu_seconds / 3600,
    }
    if gpu_cost is not None:
        dollars = price(whole.gpu_seconds, plays, gpu_cost)
        found |= {
            "gpu_cost_per_hour": gpu_cost,
            "cost": dollars[0] if dollars else None,
            "cost_per_video_hour": dollars[1] if dollars else None,
        }
    return found
