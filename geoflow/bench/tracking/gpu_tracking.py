"""The tracker at full size on a GPU: frames per second and peak memory; a JSON object a line.

`python -m geoflow.bench.tracking.gpu_tracking JSON`. It also runs on a CPU with a small network, for a rehearsal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from geoflow.bench.geometry.gpu import device_name, timed
from geoflow.bench.tracking.tracking_child import made_up_clip, made_up_network
from geoflow.models.tapip3d.config import CorrelationConfig, TrackerConfig, UpdaterConfig
from geoflow.models.tapip3d.frames import WindowFrames
from geoflow.models.tapip3d.query_grid import grid_queries
from geoflow.models.tapip3d.windows import WindowRun

_SMALL = TrackerConfig(
    feature_dim=16,
    corr_feature=CorrelationConfig(8, 2, 16, 16, 1, 16),
    point_updater=UpdaterConfig(1, 1, 32, 2, 1.0, 8),
)


def measure_tracking(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the device and the size of the weights, then a row for encoding alone and one for the whole pass.

    `job` has device, frames, size (height, width), queries, iterations, dtype (float32 or bfloat16), compile, and small
    (a network for a rehearsal). Each is done once before it is measured, on one window, so that kernels are loaded or
    compiled.
    """
    torch.backends.cudnn.deterministic = True  # as in the backend
    device, length = torch.device(job["device"]), TrackerConfig().seq_len
    network = made_up_network(_SMALL if job["small"] else TrackerConfig()).to(device)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    yield {"device": device_name(device), "torch": torch.__version__, "weights_mb": weights / 1e6}
    if job["compile"]:
        network.compile_parts()
    side = int(np.ceil(job["queries"] ** 0.5))

    def encode(count: int) -> None:
        frames = WindowFrames(network, made_up_clip(count, *job["size"]), None)
        for start in range(0, count, length // 2):
            frames.slide(start, min(start + length, count))

    def everything(count: int) -> None:
        clip = made_up_clip(count, *job["size"])
        queries = grid_queries(clip, 0, side)[: job["queries"]]
        run = WindowRun(network, clip, queries, job["iterations"], None)
        run.go()
        run.positions()

    half = job["dtype"] == "bfloat16"
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        for name, work in (("encode", encode), ("all", everything)):
            work(length)
            yield {"stage": name, **timed(work, job["frames"], device)}


if __name__ == "__main__":
    for row in measure_tracking(json.loads(sys.argv[1])):
        print(json.dumps(row), flush=True)
