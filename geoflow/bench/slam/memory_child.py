"""A walk's memory, in a process of its own: `python -m geoflow.bench.slam.memory_child JSON`; prints a JSON object."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from geoflow.bench.geometry.geometry_child import resident_mb
from geoflow.bench.slam.held_tensors import HeldTensors
from geoflow.bench.slam.laden_flow import LadenFlow
from geoflow.bench.slam.loop_child import OPTIONS
from geoflow.bench.slam.made_up_walks import MadeUpWalk, returning
from geoflow.models.vipe.preparing import fit_of
from geoflow.models.vipe.slam import Slam

_NOISE = 0.3  # px of the grid


class _Blank:
    """Frames that can be read again, and of which one exists at a time."""

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        self._count, self._size = count, size

    def __iter__(self) -> Iterator[np.ndarray]:
        return (np.zeros((*self._size, 3), np.uint8) for _ in range(self._count))


@dataclass(frozen=True)
class WalkMemory:
    """What one walk took."""

    keyframes: int
    loops: int
    tensors_mb: float  # the most that tensors held at once
    peak_mb: float  # resident, the whole process
    loaded_mb: float  # resident before the first frame
    cpu_seconds: float


def laden(walk: MadeUpWalk, size: tuple[int, int], noise: float = _NOISE) -> LadenFlow:
    """Return a stand-in for the network with its tensors, for pictures of a working size."""
    height, width = size
    camera = torch.tensor([0.8 * width, 0.8 * width, width / 2, height / 2])
    cameras, room = torch.from_numpy(walk.world_from_cam), torch.from_numpy(walk.room)
    return LadenFlow(cameras, camera, room, size, noise)


def measure(job: dict[str, Any]) -> WalkMemory:
    """Track with one thread; `job` has frames, size (height, width), area and close_loops."""
    torch.set_num_threads(1)
    walk = returning(0, job["frames"])
    height, width = job["size"]
    flow = laden(walk, fit_of(height, width, job["area"]).size)
    k = np.array([[0.8 * width, 0, width / 2 - 0.5], [0, 0.8 * width, height / 2 - 0.5], [0, 0, 1]])
    loaded, began = resident_mb("VmRSS"), time.process_time()
    tensors = HeldTensors()
    found = Slam(flow).run(
        _Blank(job["frames"], (height, width)),
        intrinsics=k,
        area=job["area"],
        close_loops=job["close_loops"],
        watch=tensors.watch,
        **OPTIONS,
    )
    return WalkMemory(
        len(found.keyframes),
        len(found.loops),
        tensors.peak / 1e6,
        resident_mb("VmHWM"),
        loaded,
        time.process_time() - began,
    )


if __name__ == "__main__":
    print(json.dumps(asdict(measure(json.loads(sys.argv[1])))))
