"""Dense bundle adjustment, in a process of its own: `python -m geoflow.bench.slam.adjustment_child JSON`."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from geoflow.bench.slam.plain_adjustment import plain_adjust
from geoflow.models.vipe import se3
from geoflow.models.vipe.adjustment import GRID, Adjustment, Scene, adjust
from geoflow.models.vipe.reprojection import Edges, reproject

WAYS = {"ours": adjust, "plain": plain_adjust}


@dataclass(frozen=True)
class StepCost:
    """The cost of one iteration, and the scene that came of all, to hold ways against each other."""

    cpu_seconds: float  # the least of all runs
    poses_sum: float
    disps_sum: float


def problem(keyframes: int, edges: int, grid: tuple[int, int]) -> tuple[Scene, Edges, Tensor, Tensor, Tensor]:
    """Return a scene, edges between near keyframes, targets that are a pixel off, weights and damping."""
    torch.manual_seed(0)
    height, width = grid
    scene = Scene(
        se3.exp(0.05 * torch.randn(keyframes, 6)),
        0.3 + torch.rand(keyframes, height, width),
        torch.tensor([[0.8 * GRID * width, 0.8 * GRID * width, 0.5 * GRID * width, 0.5 * GRID * height]]),
    )
    every = [(i, j) for i in range(keyframes) for j in range(keyframes) if i != j]
    pairs = torch.tensor(sorted(every, key=lambda pair: abs(pair[0] - pair[1]))[:edges])
    between = Edges.single(*pairs.unbind(1))
    coords, _ = reproject(scene.geometry, between)
    weight = torch.rand(coords.shape)
    return scene, between, coords + torch.randn(coords.shape), weight, torch.full_like(scene.disps, 0.004)


def measure(job: dict[str, Any]) -> StepCost:
    """Adjust with one thread; `job` has way (ours, plain), keyframes, edges, grid (height, width), iterations, runs."""
    torch.set_num_threads(1)
    given = problem(job["keyframes"], job["edges"], tuple(job["grid"]))
    chosen, taken = Adjustment(1, job["keyframes"], job["iterations"]), []
    with torch.inference_mode():
        for _ in range(job["runs"]):
            began = time.process_time()
            found = WAYS[job["way"]](*given, chosen)
            taken.append((time.process_time() - began) / job["iterations"])
    return StepCost(min(taken), float(found.poses.double().sum()), float(found.disps.double().sum()))


if __name__ == "__main__":
    print(json.dumps(asdict(measure(json.loads(sys.argv[1])))))
