"""One measurement in its own process: `python -m geoflow.bench.geometry.geometry_child JSON`.

Every line of stdout is a JSON object: one for a measurement on a CPU; or, if a device is given, one per stage, as soon
as it is measured.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from geoflow.bench.geometry.made_up import middle_config, networks, video
from geoflow.bench.geometry.plain_pipeline import PlainCrafter
from geoflow.models.geometrycrafter import GeometryCrafter, Options


@dataclass(frozen=True)
class Measurement:
    """The cost of one reconstruction on the CPU."""

    seconds: float  # wall clock
    cpu_seconds: float
    peak_mb: float  # resident, the whole process
    loaded_mb: float  # resident before the first frame: Python, torch, weights


def measure(job: dict[str, Any]) -> Measurement:
    """Reconstruct a made-up video with one thread.

    `job` has way (streaming or plain), frames, size and options.
    """
    torch.set_num_threads(1)
    options = Options(**job["options"])
    nets = networks(middle_config(options.model_type), "cpu")
    given = video(job["frames"], *job["size"])
    streaming = GeometryCrafter(nets, options) if job["way"] == "streaming" else None
    plain = PlainCrafter(nets, options, "cpu", torch.float32) if streaming is None else None
    loaded = resident_mb("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    if streaming is not None:
        for _ in streaming.reconstruct(*given):
            pass  # like a consumer that writes each chunk and drops it
    elif plain is not None:
        plain.reconstruct(*given)
    return Measurement(time.perf_counter() - wall, time.process_time() - cpu, resident_mb("VmHWM"), loaded)


def resident_mb(row: str) -> float:
    """Return memory of this process in MB, now (VmRSS) or at its peak so far (VmHWM) (Linux)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[row].split()[0]) / 1e3


if __name__ == "__main__":
    given: dict[str, Any] = json.loads(sys.argv[1])
    if "device" in given:
        from geoflow.bench.geometry.gpu import measure_on_gpu

        for row in measure_on_gpu(given):
            print(json.dumps(row), flush=True)
    else:
        print(json.dumps(asdict(measure(given))))
