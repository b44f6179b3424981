"""The engine at scale: weak scaling over simulated clusters, and the driver's cost in a very long run."""

from __future__ import annotations

import math
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoflow.bench.clusters import simulated_cluster
from geoflow.bench.engine import geoflow_engine
from geoflow.bench.engine.bounds import fluid
from geoflow.bench.engine.sleeper import read_trace
from geoflow.bench.engine.workloads import TINY, SleepStage, Workload
from geoflow.cluster.processes import private_bytes

if TYPE_CHECKING:
    from rich.console import Console

_GPUS_PER_NODE = 8
_CPUS_PER_WORKER = 0.1
# Seconds of a call: as long as those of real models, so that calls of 32 GPUs fit on the cores of a laptop.
_SECONDS = 1.5
_MIDDLE = (0.2, 0.8)  # of all outputs: start and end of a run do not show its pace


def weak_scaling(counts: Sequence[int], items_per_gpu: int, console: Console) -> list[dict[str, Any]]:
    """Run the same work per GPU on clusters of 1, 2, ... GPUs, at most 8 per node.

    `efficiency` is the pace in the middle of the run over that of GPUs that never wait.
    """
    rows = []
    for count in counts:
        work = Workload(
            "scale",
            (
                SleepStage("a", 0.5, _SECONDS, (), 200_000),
                SleepStage("b", 0.5, _SECONDS, ("a",)),
            ),
            items=items_per_gpu * count,
            gpus=count,
        )
        with simulated_cluster(_nodes(count), head_cpus=2), tempfile.TemporaryDirectory() as folder:
            trace = Path(folder) / "trace"
            began, cpu = time.monotonic(), time.process_time()
            delivered = geoflow_engine.drive(work, None, str(trace), _CPUS_PER_WORKER)
            cpu = time.process_time() - cpu
            ended = sorted(row[4] for row in read_trace(trace) if row[0] != "up" and row[1] == "b")
        low, high = (int(share * len(ended)) for share in _MIDDLE)
        pace = (high - low) / (ended[high] - ended[low])
        row = {
            "gpus": count,
            "nodes": math.ceil(count / _GPUS_PER_NODE),
            "items": len(delivered),
            "items_per_s": pace,
            "efficiency": pace * fluid(work) / work.items,
            "driver_cpu_ms_per_call": 1000 * cpu / (2 * work.items),
            "seconds": time.monotonic() - began,
        }
        rows.append(row)
        console.print(f"{count} GPUs: {pace:.2f} items/s, efficiency {row['efficiency']:.3f}")
    return rows


def many_segments(count: int, console: Console) -> dict[str, Any]:
    """Run `count` segments that do nearly nothing; return the driver's peak private memory and the pace."""
    work = replace(TINY, items=count)
    peak, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            peak[0] = max(peak[0], private_bytes(os.getpid()))

    with simulated_cluster(_nodes(work.gpus), head_cpus=2), tempfile.TemporaryDirectory() as folder:
        before = private_bytes(os.getpid())
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        began = time.monotonic()
        delivered = geoflow_engine.drive(work, None, str(Path(folder) / "trace"), _CPUS_PER_WORKER)
        seconds = time.monotonic() - began
        over.set()
        watcher.join()
    found = {
        "segments": len(set(delivered)),
        "driver_mb": peak[0] / 1e6,
        "driver_mb_before": before / 1e6,
        "seconds": seconds,
        "segments_per_s": count / seconds,
    }
    console.print(f"{count} segments: driver {found['driver_mb']:.0f} MB, {found['segments_per_s']:.0f} segments/s")
    return found


def _nodes(gpus: int) -> list[dict[str, int]]:
    """Return the resources of a cluster's nodes, each with up to 8 pretended GPUs."""
    shares = [min(_GPUS_PER_NODE, gpus - first) for first in range(0, gpus, _GPUS_PER_NODE)]
    return [{"num_cpus": 2 * here, "num_gpus": here} for here in shares]
