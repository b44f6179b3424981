"""GPU memory of a worker: measures its peak and keeps it within its share. Used in the worker's process.

NVML's value for the process counts, since a framework's own counters leave out the memory of the driver and libraries.
The framework's counters are read as well, because NVML is sampled and may miss a short peak.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

METER_VARIABLE = "GEOFLOW_GPU_METER"
_EVERY_S = 0.02  # samples of NVML while a call is measured
FILL = 0.9  # share of a GPU's memory that copies may take at their peak; the rest is for fragmentation and the system


def copies_that_fit(peak: int, total: int) -> int:
    """Return the number of a stage's copies for one GPU: floor(total / peak × 0.9), 0 if one copy is too large.

    >>> copies_that_fit(peak=20, total=80), copies_that_fit(peak=75, total=80)
    (3, 0)
    """
    return int(total / max(peak, 1) * FILL)


def memory_share(peak: int, total: int) -> float:
    """Return the share of a GPU that one copy counts as. A copy that takes nearly the whole GPU counts as 1.

    >>> memory_share(20, 80), memory_share(75, 80)
    (0.3333333333333333, 1.0)
    """
    return 1.0 / max(1, copies_that_fit(peak, total))


class Meter(Protocol):
    """The interface of a worker to its GPU's memory. `$GEOFLOW_GPU_METER` may name another class, as module:Class."""

    def total(self) -> int:
        """Return the bytes of memory that the GPU has; 0 if that is not known."""

    def start(self) -> None:
        """Begin to watch."""

    def stop(self) -> int:
        """Stop watching; return the most bytes that this process had since `start`."""

    def cap(self, share: float) -> None:
        """Limit the framework to this share of the GPU, so that a call that takes too much fails here."""


def find_meter() -> Meter:
    module, _, name = os.environ.get(METER_VARIABLE, "").partition(":")
    if module:
        meter: Meter = getattr(importlib.import_module(module), name)()
        return meter
    return NvmlMeter()


class NvmlMeter:
    """The meter for real GPUs. Not run in the project's CI, which has no GPU; `pytest -m gpu` runs it."""

    def __init__(self, pids: Callable[[], set[int]] = lambda: {os.getpid()}) -> None:
        """`pids` returns the processes whose memory counts."""
        self._pids = pids
        self._peak, self._over = 0, threading.Event()
        self._thread: threading.Thread | None = None
        self._nvml: Any = None
        self._device: Any = None
        with contextlib.suppress(Exception):  # no driver, no GPU, no bindings
            self._nvml = nvml_bindings()
            self._nvml.nvmlInit()
            self._device = _device(self._nvml)

    def total(self) -> int:
        if self._device is not None:
            return int(self._nvml.nvmlDeviceGetMemoryInfo(self._device).total)
        cuda = _torch_cuda()
        return int(cuda.get_device_properties(0).total_memory) if cuda else 0

    def start(self) -> None:
        self._peak = 0
        self._over.clear()
        if cuda := _torch_cuda():
            cuda.reset_peak_memory_stats()
        if self._device is not None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()

    def stop(self) -> int:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._peak = max(self._peak, self._used())
        cuda = _torch_cuda()
        return max(self._peak, int(cuda.max_memory_reserved()) if cuda else 0)

    def cap(self, share: float) -> None:
        if cuda := _torch_cuda():
            cuda.set_per_process_memory_fraction(min(1.0, share))

    def _watch(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._peak = max(self._peak, self._used())

    def _used(self) -> int:
        """Return the bytes of the processes that count; in a container that hides process ids, the bytes of all
        processes on the GPU."""
        processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._device)
        pids = self._pids()
        own = [p.usedGpuMemory for p in processes if p.pid in pids and p.usedGpuMemory]
        return int(sum(own) if own else self._nvml.nvmlDeviceGetMemoryInfo(self._device).used)


def nvml_bindings() -> Any:
    """Return NVML for Python, of the package nvidia-ml-py. Raises ImportError where it is not installed."""
    return importlib.import_module("pynvml")


def _device(nvml: Any) -> Any:
    """Return the first of the GPUs that this process may see; Ray sets them by number or by UUID."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if first.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(first))
    return nvml.nvmlDeviceGetHandleByUUID(first.encode())


def _torch_cuda() -> Any:
    """Return torch.cuda if the stage has loaded torch and torch has a GPU. torch is never loaded for this."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None
