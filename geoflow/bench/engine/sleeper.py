"""The work itself, the same in every engine: sleep, make an array, and write the times to a file.

Only the standard library and numpy are used, because another engine may run in its own interpreter.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geoflow.bench.engine.workloads import Workload


class Sleeper:
    """One worker of one stage. Make it where the model would be loaded."""

    def __init__(self, workload: Workload, stage: str, trace: str) -> None:
        began = time.monotonic()
        self._workload, self._stage = workload, workload.stage(stage)
        # A line is one short write to a file opened for appending, so lines of several processes never mix.
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        time.sleep(workload.load_seconds)
        self._note("up", began)

    def work(self, item: int, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Spend an item's service time on it, including the time to make the array.

        `inputs` are the arrays of the stages that this one reads, each with its stage's `payload_bytes` bytes, all 1.
        Returns an array (payload_bytes,) uint8 of ones.

        Raises ValueError if an input is not complete.
        """
        began = time.monotonic()
        for name, array in zip(self._stage.after, inputs, strict=True):
            expected = self._workload.stage(name).payload_bytes
            flat = array.reshape(-1)
            if flat.nbytes != expected or not (flat[0] and flat[-1]):
                raise ValueError(f"{self._stage.name} got {flat.nbytes} bytes from {name}, expected {expected} of ones")
        made = np.ones(self._stage.payload_bytes, np.uint8)
        left = self._workload.seconds(self._stage, item) - (time.monotonic() - began)
        if left > 0:
            time.sleep(left)
        self._note(str(item), began)
        return made

    def _note(self, what: str, began: float) -> None:
        row = f"{what} {self._stage.name} {os.getpid()} {began:.6f} {time.monotonic():.6f}\n"
        os.write(self._trace, row.encode())


def read_trace(path: Path) -> list[tuple[str, str, int, float, float]]:
    """Return rows (item number, or "up" for a worker that has loaded; stage; pid; began; ended) in order of writing."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        what, stage, pid, began, ended = line.split()
        rows.append((what, stage, int(pid), float(began), float(ended)))
    return rows
