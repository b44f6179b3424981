"""GPU memory of a stage in a child process: the child's framework is limited there, its memory counts here."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from geoflow.engine.gpu.meter import METER_VARIABLE, Meter, NvmlMeter


class ForeignMeter(Meter):
    """NVML sees the child from here: the child's Python need not have NVML. Its framework's counters are there."""

    def __init__(self, stage: Callable[[], Any]) -> None:
        """`stage` returns the present stage, which forwards calls: another rung of the ladder has another one."""
        self._stage = stage
        named = bool(os.environ.get(METER_VARIABLE))  # then the child's tells everything
        self._nvml = None if named else NvmlMeter(lambda: {os.getpid(), *stage().processes()})

    def total(self) -> int:
        own = self._nvml.total() if self._nvml is not None else 0
        return own or self._ask("total")

    def start(self) -> None:
        self._stage().meter("start")
        if self._nvml is not None:
            self._nvml.start()

    def stop(self) -> int:
        own = self._nvml.stop() if self._nvml is not None else 0
        return max(own, self._ask("stop"))

    def cap(self, share: float) -> None:
        self._stage().meter("cap", share)

    def _ask(self, name: str) -> int:
        return int(self._stage().meter(name) or 0)
