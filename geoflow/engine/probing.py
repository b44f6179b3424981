"""Probing as a Ray task: a video's metadata comes back to the driver, its frame tables stay in the object store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geoflow.engine.graph import PROBED
from geoflow.engine.wire import pack
from geoflow.inputs import Input
from geoflow.segments import VideoInfo

Probe = Callable[[Input], tuple[VideoInfo, dict[str, Any]]]


def submit_probe(probe: Probe, item: Input) -> list[Any]:
    """Refs of the outcome ({"info": ..., "fields": names} or {"error": ...}) and of each array of `PROBED`."""
    import ray

    # No CPU is booked: the pools may hold them all, and few probes run at a time.
    task = ray.remote(_run).options(num_cpus=0, num_returns=1 + len(PROBED), max_retries=2)
    return task.remote(probe, item)


def _run(probe: Probe, item: Input) -> tuple[Any, ...]:
    from geoflow.engine.worker import describe

    try:
        info, arrays = probe(item)
    except Exception as error:
        return ({"error": describe(error)}, *([None] * len(PROBED)))
    return ({"info": info, "fields": tuple(arrays)}, *[pack(arrays[n]) if n in arrays else None for n in PROBED])
