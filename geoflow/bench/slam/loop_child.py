"""Walks tracked in a process of their own: `python -m geoflow.bench.slam.loop_child JSON`; prints a JSON object."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from geoflow.bench.slam.made_up_walks import CAMERA, KINDS, SIZE
from geoflow.geometry.rigid import umeyama
from geoflow.models.vipe.slam import Slam

# Few keyframes are adjusted at once, so that a short walk has many parts; distances are those of small pictures.
OPTIONS: dict[str, Any] = {
    "filter_thresh": 1.4, "keyframe_thresh": 1.4, "frontend_thresh": 6.0, "backend_thresh": 8.0,
    "most_keyframes": 20, "kept_keyframes": 8, "backend_iters": 2,
}  # fmt: skip


@dataclass(frozen=True)
class ClosedWalk:
    """One walk, before and after its loops were closed."""

    path: float  # m
    keyframes: int
    loops: int
    before: float  # m, ATE of frames after a similarity
    after: float
    cpu_seconds: float


def measure(job: dict[str, Any]) -> ClosedWalk:
    """Track with one thread; `job` has kind, seed, frames and noise (px of the grid)."""
    torch.set_num_threads(1)
    walk = KINDS[job["kind"]].make(job["seed"], job["frames"])
    fx, fy, cx, cy = CAMERA
    opened: list[np.ndarray] = []
    began = time.process_time()
    found = Slam(walk.flow(job["noise"], job["seed"])).run(
        (np.zeros((*SIZE, 3), np.uint8) for _ in range(job["frames"])),
        intrinsics=np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]]),
        close_loops=True,
        watch=lambda name, value: opened.append(np.array(value)) if name == "before_loops" else None,
        **OPTIONS,
    )
    truth = walk.world_from_cam[:, :3, 3]
    return ClosedWalk(
        float(np.linalg.norm(np.diff(truth, axis=0), axis=1).sum()),
        len(found.keyframes),
        len(found.loops),
        path_error(opened[0] if opened else found.cam_from_world, truth),
        path_error(found.cam_from_world, truth),
        time.process_time() - began,
    )


def path_error(cam_from_world: np.ndarray, truth: np.ndarray) -> float:
    """Return the root mean square distance, after a similarity, of cameras (T, 4, 4) from places (T, 3)."""
    own = np.linalg.inv(cam_from_world.astype(np.float64))[:, :3, 3]
    off = umeyama(own, truth).apply(own) - truth
    return float(np.sqrt((off**2).sum(1).mean()))


if __name__ == "__main__":
    print(json.dumps(asdict(measure(json.loads(sys.argv[1])))))
