"""The GPUs of this machine, by NVML, before anything is started on them."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any

from geoflow.engine.gpu.meter import nvml_bindings


@dataclass(frozen=True)
class GpuDevice:
    """One GPU as NVML describes it."""

    name: str
    total: int  # bytes of memory
    free: int


def list_gpus() -> list[GpuDevice]:
    """Return the GPUs that $CUDA_VISIBLE_DEVICES leaves; [] without a driver."""
    try:
        nvml = nvml_bindings()
        nvml.nvmlInit()
    except Exception:  # no bindings, no driver, a driver that does not answer: each has its own kind of error
        return []
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        uuids = [_text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        return [_device(nvml, handles[i]) for i in visible(os.environ.get("CUDA_VISIBLE_DEVICES"), uuids)]
    finally:
        nvml.nvmlShutdown()


def visible(setting: str | None, uuids: list[str]) -> list[int]:
    """Return the numbers of the GPUs that a value of $CUDA_VISIBLE_DEVICES leaves: as in CUDA, up to the first unknown
    one.

    >>> visible("1,0", ["GPU-a", "GPU-b"]), visible("GPU-b", ["GPU-a", "GPU-b"]), visible("", ["GPU-a"])
    ([1, 0], [1], [])
    """
    if setting is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    for word in (part.strip() for part in setting.split(",")):
        found = [i for i, uuid in enumerate(uuids) if word == str(i) or (word and uuid.startswith(word))]
        if len(found) != 1:
            break
        chosen += found
    return chosen


def gpu_kind() -> str:
    """Return the kind of this machine's GPUs by Ray's name, such as A100; "" if there are none."""
    with contextlib.suppress(Exception):  # Ray's own name for it, from inside Ray: another version may lack that
        from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager

        return NvidiaGPUAcceleratorManager.get_current_node_accelerator_type() or ""
    return ""


def _device(nvml: Any, handle: Any) -> GpuDevice:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return GpuDevice(_text(nvml.nvmlDeviceGetName(handle)), int(memory.total), int(memory.free))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
