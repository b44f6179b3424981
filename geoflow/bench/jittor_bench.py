"""What it takes until Jittor computes: its core and the kernels compiled, a process that finds both, a second one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoflow.environments import interpreter
from geoflow.environments.environment import load_runtime_env
from geoflow.errors import StageError
from geoflow.files import resources

if TYPE_CHECKING:
    from rich.console import Console

ENVIRONMENT = "geometrycrafter_jittor"
_CHILD = Path(__file__).with_name("jittor_child.py")
# What each child does; it finds what those before it have compiled.
_PHASES = (
    ("core, cold", ("import",)),
    ("kernels, cold", ("networks", "1")),
    ("another process, all compiled", ("networks", "2")),
)


def bench_jittor(out: Path, console: Console) -> dict[str, Any]:
    """Compile everything anew below `out`, in the environment of the backend, and start processes that find it.

    CPU time is that of a process and of all that it starts. Returns {"cores", "phases": [...]}.
    """
    wanted = interpreter.wanted(load_runtime_env(ENVIRONMENT))
    assert wanted is not None
    python = interpreter.prepare(wanted, ENVIRONMENT).executable
    cache = out / f"cache-{os.getpid()}"  # nothing is there yet
    found: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "phases": []}
    for name, arguments in _PHASES:
        row = {"phase": name, **_measured(python, arguments, cache)}
        console.print(row)
        found["phases"].append(row)
    return found


def _measured(python: str, arguments: tuple[str, ...], cache: Path) -> dict[str, Any]:
    variables = {
        **os.environ,
        "GEOFLOW_CACHE": str(cache.absolute()),
        "PYTHONPATH": str(resources.roots()[0]),
        "CUDA_VISIBLE_DEVICES": "",
    }
    began = time.monotonic()
    child = subprocess.Popen([python, str(_CHILD), *arguments], env=variables, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    text = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode or not text:
        raise StageError(f"Jittor did not start (exit status {child.returncode}); its output is above")
    clocks = {
        "seconds": time.monotonic() - began,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024 if sys.platform != "darwin" else usage.ru_maxrss / 1024**2,
    }
    return {**clocks, **json.loads(text)}
