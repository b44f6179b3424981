"""One measurement in its own process: `python -m geoflow.bench.tracking.tracking_child JSON`; prints a JSON object."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from geoflow.bench.geometry.geometry_child import Measurement, resident_mb
from geoflow.bench.geometry.made_up import Repeated
from geoflow.bench.tracking.plain_tracker import PlainTracker
from geoflow.models.tapip3d.clip import Clip
from geoflow.models.tapip3d.config import TrackerConfig
from geoflow.models.tapip3d.network import TrackerNetwork
from geoflow.models.tapip3d.query_grid import grid_queries
from geoflow.models.tapip3d.windows import track_windows

_DIFFERENT_FRAMES = 16  # then they are repeated, so that the frames themselves take no more memory


def made_up_clip(frames: int, height: int, width: int) -> Clip:
    """Return noise on a slanted wall before a camera that moves sideways and back."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (_DIFFERENT_FRAMES, height, width, 3), np.uint8)
    depth = 2 + np.linspace(0, 1, width) + rng.uniform(0, 0.05, (_DIFFERENT_FRAMES, height, width))
    camera = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], np.float32)
    poses = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    poses[:, 0, 3] = 0.3 * np.sin(np.arange(frames) / 8)
    intrinsics = np.tile(camera, (frames, 1, 1))
    return Clip.of(Repeated(rgb, frames), Repeated(depth.astype(np.float32), frames), intrinsics, poses)


def made_up_network(config: TrackerConfig) -> TrackerNetwork:
    """Return a network with weights from a seed, whose steps are short: random ones would leave the scene."""
    torch.manual_seed(0)
    network = TrackerNetwork(config).eval()
    with torch.no_grad():
        network.point_updater.flow_head.weight *= 0.01
    return network


def measure(job: dict[str, Any]) -> Measurement:
    """Track with one thread; `job` has way (ours or plain), queries, frames, size (height, width) and iterations."""
    torch.set_num_threads(1)
    network = made_up_network(TrackerConfig())
    clip = made_up_clip(job["frames"], *job["size"])
    queries = grid_queries(clip, 0, int(np.ceil(job["queries"] ** 0.5)))[: job["queries"]]
    loaded, wall, cpu = resident_mb("VmRSS"), time.perf_counter(), time.process_time()
    with torch.inference_mode():
        if job["way"] == "ours":
            track_windows(network, clip, queries, iterations=job["iterations"])
        else:
            rgb, depth = (np.stack([part[k] for k in range(job["frames"])]) for part in (clip.rgb, clip.depth))
            cameras = (clip.intrinsics, clip.cam_from_world)
            PlainTracker(network).track(rgb, depth, cameras, queries, job["iterations"])
    return Measurement(time.perf_counter() - wall, time.process_time() - cpu, resident_mb("VmHWM"), loaded)


if __name__ == "__main__":
    print(json.dumps(asdict(measure(json.loads(sys.argv[1])))))
