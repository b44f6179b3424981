"""The streaming pipeline beside the plain one: on a CPU at a middle size, or on a GPU at full size."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from geoflow.bench.peer_processes import environment
from geoflow.models.geometrycrafter import Options

if TYPE_CHECKING:
    from rich.console import Console

_WAYS = ("streaming", "plain")
_SOURCE_SIZE = (288, 432)  # height, width, px
_WORKING_SIZE = {"height": 128, "width": 192}
# By default glibc keeps freed maps for later: about 300 MB here, more or less by chance, beside the 300 MB in use.
_ON_CPU = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
_GPU_SIZES = ((576, 1024), (384, 640))
_GPU_FRAMES = 110  # one window


def bench_geometry(
    *, frames: tuple[int, ...] = (110, 440), model_type: str = "determ", device: str = "cpu", console: Console
) -> dict[str, Any]:
    """Measure time per frame and peak memory of both pipelines, each in its own process.

    Returns {"runs": [...], "ratios": {...}} for a CPU, {"device": name, "runs": [...]} for a GPU, where every run
    measures its stages one by one.
    """
    if device != "cpu":
        return _on_gpu(device, console)
    options = {"model_type": model_type, **_WORKING_SIZE}
    Options(**options)  # type: ignore[arg-type]  # a wrong one is said here, not by a child
    runs = []
    for count in frames:
        for way in _WAYS:
            job = {"way": way, "frames": count, "size": _SOURCE_SIZE, "options": options}
            runs.append({"way": way, "frames": count, **_child(job)})
            console.print(runs[-1])
    return {"size": _SOURCE_SIZE, "options": options, "runs": runs, "ratios": _ratios(runs)}


def _ratios(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return streaming over plain for every length, and the memory of the longest video over that of the shortest."""
    by_key = {(run["way"], run["frames"]): run for run in runs}
    lengths = sorted({run["frames"] for run in runs})
    found: dict[str, float] = {}
    for count in lengths:
        ours, plain = by_key["streaming", count], by_key["plain", count]
        found[f"cpu_seconds_{count}"] = ours["cpu_seconds"] / plain["cpu_seconds"]
        found[f"peak_{count}"] = ours["peak_mb"] / plain["peak_mb"]
        found[f"peak_above_loaded_{count}"] = _added(ours) / _added(plain)
    for way in _WAYS:
        first, last = (by_key[way, count] for count in (lengths[0], lengths[-1]))
        found[f"{way}_peak_growth"] = last["peak_mb"] / first["peak_mb"]
    return found


def _added(run: dict[str, Any]) -> float:
    return float(run["peak_mb"] - run["loaded_mb"])


def _on_gpu(device: str, console: Console) -> dict[str, Any]:
    runs: list[dict[str, Any]] = []
    name = ""
    for model_type in ("diff", "determ"):
        for height, width in _GPU_SIZES:
            for way in (*_WAYS, "prior") if model_type == "diff" else _WAYS:
                options = {"model_type": model_type, "height": height, "width": width}
                job = {"way": way, "frames": _GPU_FRAMES, "options": options, "device": device}
                head, *stages = _rows(job)
                name = head["device"]
                found = {"weights_mb": head["weights_mb"], "stages": {row.pop("stage"): row for row in stages}}
                runs.append({"way": way, **options, "frames": _GPU_FRAMES, **found})
                console.print(runs[-1])
    return {"device": name, "runs": runs}


def _child(job: dict[str, Any]) -> dict[str, Any]:
    return _rows(job)[-1]


def _rows(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what one measurement printed, a row per line; a stage that does not fit into memory is marked."""
    command = [sys.executable, "-m", "geoflow.bench.geometry.geometry_child", json.dumps(job)]
    settings = _ON_CPU if job.get("device", "cpu") == "cpu" else {}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment() | settings, text=True)
    if done.returncode:
        raise RuntimeError(f"the measurement of {job} ended with status {done.returncode}; its errors are above")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
