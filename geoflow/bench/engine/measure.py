"""One run in its own process with its own Ray, observed from outside through /proc (Linux)."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from geoflow.bench.engine.bounds import Pools
from geoflow.bench.engine.engine_child import Request, Result
from geoflow.bench.engine.engine_figures import part_after, times_of
from geoflow.bench.engine.engines import Engine
from geoflow.bench.engine.sleeper import read_trace
from geoflow.bench.engine.workloads import Workload
from geoflow.bench.peer_processes import END_WITHIN_S, end_all, environment
from geoflow.cluster.processes import Process, cpu_seconds, descendants, private_bytes, wake_ups

_SAMPLE_EVERY_S = 0.2
_LOOK_EVERY = 5  # samples between two looks at the list of processes


@dataclass
class Watched:
    """Observations of one run from outside."""

    private_peak_bytes: int = 0  # anonymous memory of the driver and all workers, at its peak
    cpu: list[tuple[float, float, float]] = field(default_factory=list)  # time, idle and all ticks of the machine
    spent: list[tuple[float, float, int]] = field(default_factory=list)  # time, CPU seconds, the driver's wake-ups
    seen: set[Process] = field(default_factory=set)
    timed_out: bool = False


def measure(
    engine: Engine, workload: Workload, pools: Pools, *, python: str, timeout: float, log: Path
) -> dict[str, Any]:
    """Run `workload` once on `engine` with the interpreter `python`; the run's output goes to `log`.

    Returns the figures of `Times`, and private_mb, store_peak_mb, spilled_mb, cpu_idle (idle share of the machine's CPU
    time between the clock's start and the last output), cpu_ms per call (of all of the run's processes) and wake_ups
    per call (of the driver's main thread), both from `startup` to the last output, delivered, and error ("" on
    success).
    """
    folder = Path(tempfile.mkdtemp(prefix="gf-", dir="/tmp"))  # Ray's socket paths must stay short
    own_pools = pools if engine.fixed else None
    options = engine.options(workload, str(folder / "kept"))
    request = Request(engine.module, workload.to_json(), own_pools, engine.dashboard, options)
    (folder / "request.json").write_text(json.dumps(asdict(request)))
    try:
        with open(log, "wb") as out:
            command = [python, "-m", "geoflow.bench.engine.engine_child", str(folder)]
            env = {**environment(), **engine.env}

            def start() -> subprocess.Popen[bytes]:
                return subprocess.Popen(command, stdout=out, stderr=out, env=env, start_new_session=True)

            if workload.killed_at:
                _watch(start(), timeout, killed_when=lambda: _outputs(workload, folder) >= workload.killed_items)
            watched = _watch(start(), timeout)
        path = folder / "result.json"
        result = Result(**json.loads(path.read_text())) if path.is_file() else Result(error=f"ended early, see {log}")
        return _figures(engine, workload, result, watched, folder / "trace")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def idle_share(cpu: Sequence[tuple[float, float, float]], began: float, ended: float) -> float | None:
    """Return the idle share of the machine's CPU time from `began` to `ended`, from samples of (time, idle, all) ticks.

    >>> idle_share([(0.0, 0, 0), (1.0, 50, 100), (2.0, 150, 200), (3.0, 150, 300)], 1.0, 2.0)
    1.0
    """
    inside = [sample for sample in cpu if began <= sample[0] <= ended]
    if len(inside) < 2 or inside[-1][2] == inside[0][2]:
        return None
    return (inside[-1][1] - inside[0][1]) / (inside[-1][2] - inside[0][2])


def growth(samples: Sequence[tuple[float, float]], began: float, ended: float) -> float | None:
    """Return the growth of a count from `began` to `ended`, from samples of (time, count); None if unknown.

    >>> growth([(0.0, 0.0), (1.0, 10.0), (3.0, 30.0)], 0.5, 2.0)
    15.0
    """
    import numpy as np

    if not samples or samples[0][0] > began or samples[-1][0] < ended:
        return None
    times, counts = zip(*samples)
    return float(np.interp(ended, times, counts) - np.interp(began, times, counts))


def _a_call(samples: list[tuple[float, float]], rows: list[Any], began: float, ended: float) -> float | None:
    """Return the cost of a call while all workers were up; an earlier call counts for its part after that."""
    calls = sum(part_after(began, row) for row in rows if row[0] != "up")
    grown = growth(samples, began, ended)
    return grown / calls if grown is not None and calls else None


def _figures(engine: Engine, workload: Workload, result: Result, watched: Watched, trace: Path) -> dict[str, Any]:
    rows = read_trace(trace)
    times = times_of(workload, [row for row in rows if row[3] >= result.clock], result.clock, phased=engine.phased)
    calls = [(row[0], row[1]) for row in rows if row[0] != "up"]
    up, over = result.clock + (times.startup or 0.0), result.clock + (times.makespan or 0.0)
    now = [row for row in rows if row[3] >= result.clock]
    killed = [row for row in rows if row[3] < result.clock and row[0] != "up"]  # done by the run before
    handed_over = {*result.delivered, *(int(row[0]) for row in killed if row[1] == workload.stages[-1].name)}
    ms = _a_call([(at, seconds) for at, seconds, _ in watched.spent], now, up, over)
    error = result.error
    if watched.timed_out:
        error = "took too long"
    elif not error and sorted(handed_over) != list(range(workload.items)):
        error = f"{len(handed_over)} of {workload.items} items were handed over"
    return {
        **times.to_dict(),
        **({"steady": None, "early": None} if workload.killed_at else {}),  # this run did only the rest of the work
        "delivered": len(handed_over),
        "repeated": len(calls) - len(set(calls)),
        "private_mb": watched.private_peak_bytes / 1e6,
        "store_peak_mb": result.store_peak_bytes / 1e6,
        "spilled_mb": result.spilled_bytes / 1e6,
        "cpu_idle": idle_share(watched.cpu, result.clock, over),
        "cpu_ms": None if ms is None else 1000 * ms,
        "wake_ups": _a_call([(at, woken) for at, _, woken in watched.spent], now, up, over),
        "error": error,
    }


def _outputs(workload: Workload, folder: Path) -> int:
    return sum(row[1] == workload.stages[-1].name and row[0] != "up" for row in read_trace(folder / "trace"))


def _watch(
    driver: subprocess.Popen[bytes], timeout: float, *, killed_when: Callable[[], bool] = lambda: False
) -> Watched:
    """Sample until the driver and all its processes have ended; kill what does not end by itself."""
    watched, began, samples = Watched(), time.monotonic(), 0
    family: set[Process] = set()
    counted: list[int] = []
    spent: dict[Process, float] = {}  # ended processes are included
    try:
        while driver.poll() is None:
            if time.monotonic() - began > timeout:
                watched.timed_out = True
                driver.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    driver.wait(END_WITHIN_S)
                break
            if samples % _LOOK_EVERY == 0:
                family = descendants(driver.pid)
                watched.seen |= family
                counted = [driver.pid, *(pid for pid, _ in family if _is_worker(pid))]
            samples += 1
            if killed_when():
                break
            watched.private_peak_bytes = max(watched.private_peak_bytes, sum(map(private_bytes, counted)))
            watched.cpu.append((time.monotonic(), *_cpu_ticks()))
            for process in (*family, (driver.pid, 0)):
                spent[process] = max(spent.get(process, 0.0), cpu_seconds(process[0]))
            watched.spent.append((time.monotonic(), sum(spent.values()), wake_ups(driver.pid)))
            time.sleep(_SAMPLE_EVERY_S)
    finally:
        if driver.poll() is None:
            driver.kill()
        driver.wait()
        end_all(watched.seen)
    return watched


def _is_worker(pid: int) -> bool:
    """Return whether a process is a Ray worker: its name is `ray::` and its task, or its script while it starts."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return command.startswith(b"ray::") or b"default_worker.py" in command


def _cpu_ticks() -> tuple[float, float]:
    """Return the idle and all ticks of the machine so far."""
    with open("/proc/stat") as rows:
        ticks = [int(value) for value in rows.readline().split()[1:9]]
    return float(ticks[3] + ticks[4]), float(sum(ticks))
