"""Measurements of stages, kept from run to run on a machine, so that the next run starts with the right pools.

A stage is recognised by everything that affects its results, by the length of segments and by the kind of its GPUs.
If there were several frame sizes, the largest counts: it needs the most.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoflow.engine.gpu.meter import memory_share
from geoflow.errors import StoreError
from geoflow.files.resources import cache_folder
from geoflow.pipeline import AUTO, Pipeline, StageSpec
from geoflow.store.whole import write_whole


@dataclass
class Measured:
    """Measurements of one stage: seconds per segment (the latest count most), pixels per frame, bytes of GPU memory
    if measured, and seconds per frame over a whole run (0 if not known)."""

    seconds: float = 0.0
    pixels: int = 0
    gpu_peak: int = 0
    gpu_total: int = 0
    seconds_per_frame: float = 0.0


def profile_path() -> Path:
    """Return the path of stages.json in GeoFlow's cache."""
    return cache_folder() / "stages.json"


def known_stages(pipeline: Pipeline, accelerators: str = "") -> dict[str, Measured]:
    """Return measurements of the pipeline's stages from earlier runs, by slot. `accelerators` is the kind of GPUs."""
    profile = _read()
    found = {spec.slot: profile.get(_key(pipeline, spec, accelerators)) for spec in pipeline.stages}
    return {slot: row for slot, row in found.items() if row is not None}


def apply_profile(pipeline: Pipeline, accelerators: str = "") -> Pipeline:
    """Return the pipeline with weights and GPU memory as measured in earlier runs. Weights are relative, so they are
    used only if all stages with a weight were measured. GPU memory that the user states has priority."""
    known = known_stages(pipeline, accelerators)
    weighted = [spec.slot for spec in pipeline.stages if spec.weight > 0]
    complete = all(slot in known for slot in weighted)
    stages = []
    for spec in pipeline.stages:
        found, changes = known.get(spec.slot), {}
        if found is not None and complete and spec.weight > 0:
            changes["weight"] = found.seconds
        if found is not None and found.gpu_peak and AUTO in (spec.gpu_memory, spec.num_gpus):
            share = memory_share(found.gpu_peak, found.gpu_total)
            changes |= {"gpu_memory": share, "num_gpus": share if spec.num_gpus == AUTO else spec.num_gpus}
        stages.append(spec.model_copy(update=changes))
    return pipeline.model_copy(update={"stages": tuple(stages)})


def keep_profile(pipeline: Pipeline, measured: dict[str, Measured], accelerators: str = "") -> None:
    """Add a run's measurements to the profile. Without a writable cache nothing is kept."""
    profile = _read()
    for spec in pipeline.stages:
        if (found := measured.get(spec.slot)) is None or found.seconds <= 0:
            continue
        key = _key(pipeline, spec, accelerators)
        before = profile.get(key)
        if before is not None and before.pixels > found.pixels:
            continue
        if before is not None and not found.gpu_peak:
            found.gpu_peak, found.gpu_total = before.gpu_peak, before.gpu_total
        profile[key] = found
    path = profile_path()
    with contextlib.suppress(OSError, StoreError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({key: vars(row) for key, row in profile.items()}, indent=1).encode())


def _key(pipeline: Pipeline, spec: StageSpec, accelerators: str) -> str:
    what: dict[str, Any] = {**spec.signature(), "segment": pipeline.segment.size, "threads": spec.num_cpus}
    if spec.num_gpus:
        what["accelerators"] = accelerators
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _read() -> dict[str, Measured]:
    try:
        rows = {key: Measured(**row) for key, row in json.loads(profile_path().read_text()).items()}
        return {key: row for key, row in rows.items() if _is_sound(row)}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _is_sound(row: Measured) -> bool:
    """Return whether the values can be durations: earlier versions used a clock that may step back."""
    return math.isfinite(row.seconds) and row.seconds > 0 and 0 <= row.seconds_per_frame < math.inf
