"""Jupyter kernels for the tests: of this very Python, far from the checkout, leaving nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager, KernelManager
from traitlets import default

MARK = "GEOFLOW_KERNEL_TEST"  # in the environment of a kernel and of every process that it starts


class OwnKernel(KernelManager):
    """A kernel of this very Python, whatever kernels are installed."""

    @default("kernel_spec_manager")
    def _only_the_native_one(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])


class OwnAsyncKernel(AsyncKernelManager):
    """The same for nbclient."""

    @default("kernel_spec_manager")
    def _only_the_native_one(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])


def _environment(folder: Path, ray_folder: Path) -> dict[str, str]:
    """Return the environment of a user who has only this Python: no PYTHONPATH, no Ray joined, caches in `folder`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
    return clean | {
        MARK: str(folder),
        "RAY_TMPDIR": str(ray_folder),
        "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "120",
        "GEOFLOW_CACHE": str(folder / "cache"),
        "IPYTHONDIR": str(folder / "ipython"),
        "OMP_NUM_THREADS": "1",
    }


@contextlib.contextmanager
def place_for_kernels(folder: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder to work in and the environment of kernels. Raises AssertionError when a process outlives them."""
    ray_folder = Path("/tmp") / f"geoflow-nb-{os.getpid()}"  # Ray's socket paths must stay short
    ray_folder.mkdir(exist_ok=True)
    yield folder, _environment(folder, ray_folder)
    deadline = time.monotonic() + 30
    while (left := _marked(str(folder))) and time.monotonic() < deadline:
        time.sleep(0.2)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(ray_folder, ignore_errors=True)
    assert not left, f"still running: {left}"


def _marked(value: str) -> dict[int, str]:
    """Return process id -> command line of the processes with MARK=value in their environment."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={value}".encode() in path.read_bytes().split(b"\0"):
                found[int(path.parent.name)] = path.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has just ended, or is somebody else's
            continue
    return found
