"""The streaming network beside a cache as its rule is written down, on a CPU with made-up weights of a middle size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from geoflow.bench.peer_processes import environment

if TYPE_CHECKING:
    from rich.console import Console

_WAYS = ("ours", "plain", "abreast")


def bench_streaming(
    *, frames: int = 16, size: tuple[int, int] = (224, 168), window: int = 24, videos: int = 4, console: Console
) -> dict[str, Any]:
    """Measure time and peak memory of each way with a full cache, each in its own process, with one thread.

    `size` is (width, height), multiples of 14; `window` is the number of kept frames that are seen with all tokens;
    `videos` go side by side, from 2 on. Returns {"frames", "size", "window", "videos", "runs": [...], "ratios": {...}};
    `abreast_cpu_seconds` is for a frame of one of the videos, over that of a video alone.
    """
    shared = {"frames": frames, "size": [size[1], size[0]], "window": window, "videos": videos}
    runs = []
    for way in _WAYS:
        job = json.dumps({"way": way, **shared})
        command = [sys.executable, "-m", "geoflow.bench.streaming.streaming_child", job]
        env = {**environment(), "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
        done = subprocess.run(command, stdout=subprocess.PIPE, env=env, text=True)
        if done.returncode:
            raise RuntimeError(f"the {way} way ended with status {done.returncode}; its errors are above")
        runs.append({"way": way, **json.loads(done.stdout.splitlines()[-1])})
        console.print(runs[-1])
    ours, plain, abreast = runs
    added = [run["peak_mb"] - run["loaded_mb"] for run in runs]
    ratios = {
        "cpu_seconds": ours["cpu_seconds"] / plain["cpu_seconds"],
        "peak_above_loaded": added[0] / added[1],
        "abreast_cpu_seconds": abreast["cpu_seconds"] / videos / ours["cpu_seconds"],
    }
    return {**shared, "cpus": os.cpu_count(), "runs": runs, "ratios": ratios}
