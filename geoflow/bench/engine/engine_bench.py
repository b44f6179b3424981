"""`geoflow bench engine`: every workload on every engine, several times, compared with lower bounds."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoflow.bench.engine import bounds
from geoflow.bench.engine.engine_table import markdown, render
from geoflow.bench.engine.engines import ENGINES, Engine, engine
from geoflow.bench.engine.measure import measure
from geoflow.bench.engine.plot import draw
from geoflow.bench.engine.workloads import WORKLOADS, Workload, workload
from geoflow.bench.peer_processes import environment

if TYPE_CHECKING:
    from rich.console import Console

FIGURES = (
    "startup",
    "first_output",
    "makespan",
    "steady",
    "early",
    "private_mb",
    "store_peak_mb",
    "spilled_mb",
    "cpu_idle",
    "cpu_ms",
    "wake_ups",
    "delivered",
    "repeated",
)


def bench_engines(
    out: Path,
    *,
    workloads: Sequence[str] = tuple(WORKLOADS),
    engines: Sequence[str] = tuple(ENGINES),
    runs: int = 3,
    items: int | None = None,
    xenna_python: str | None = None,
    timeout: float = 600.0,
    fresh: bool = False,
    console: Console,
) -> dict[str, Any]:
    """Measure, and write OUT/engines.json, OUT/engines.md, OUT/engines.svg and the runs' output OUT/logs/*.txt.

    `items` replaces each workload's number of items. `xenna_python` is an interpreter that has cosmos-xenna; default:
    this one. The runs of a workload alternate between the engines, so that a busy time of the machine does not affect
    one engine alone. Every run is kept in OUT/runs when it is over, and a later call with the same OUT does not repeat
    it unless `fresh` is True. The output covers all runs of the same work that were kept.

    Returns {"rows": [...], "absent": {engine: reason}}. A row has the workload, its bounds, the engine, the median of
    each of `FIGURES` over the successful runs, and every run.

    Raises ConfigError for an unknown workload or engine.
    """
    chosen = [engine(name) for name in engines]
    loads = [workload(name, items) for name in workloads]
    pythons = {e.name: (xenna_python if "cosmos_xenna" in e.needs else None) or sys.executable for e in chosen}
    absent = {e.name: reason for e in chosen if (reason := _lacks(e, pythons[e.name]))}
    for name, reason in absent.items():
        console.print(f"{name} is left out: {reason}")
    (out / "logs").mkdir(parents=True, exist_ok=True)
    kept = out / "runs"
    if fresh:
        shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(exist_ok=True)
    for load in loads:
        present = [e for e in chosen if e.name not in absent and e.suits(load)]
        pools = bounds.best_pools(load)
        for number in range(runs):
            for e in present:
                name = f"{load.name}-{e.name}-{number}"
                if _read(kept / f"{name}.json", load) is not None:
                    continue
                log = out / "logs" / f"{name}.txt"
                one = measure(e, load, pools, python=pythons[e.name], timeout=timeout, log=log)
                (kept / f"{name}.json").write_text(json.dumps({"workload": load.to_json(), "run": one}))
                console.print(_brief(load, e, number, one))
    rows = _rows(kept, items)
    (out / "engines.json").write_text(json.dumps({"rows": rows, "absent": absent}, indent=1))
    (out / "engines.md").write_text(markdown(rows))
    (out / "engines.svg").write_text(draw(rows))
    console.print(render(rows))
    return {"rows": rows, "absent": absent}


def _rows(kept: Path, items: int | None) -> list[dict[str, Any]]:
    """Return the rows of all kept runs, in the order of the workloads and engines."""
    rows = []
    for load in (workload(name, items) for name in WORKLOADS):
        for e in ENGINES.values():
            paths = sorted(kept.glob(f"{load.name}-{e.name}-*.json"))
            paths = [path for path in paths if path.stem.rpartition("-")[0] == f"{load.name}-{e.name}"]
            if found := [one for path in paths if (one := _read(path, load)) is not None]:
                rows.append(summarise(load, e, bounds.best_pools(load), found))
    return rows


def _read(path: Path, load: Workload) -> dict[str, Any] | None:
    """Read a kept run; None if there is none of this work."""
    try:
        found = json.loads(path.read_text())
        run: dict[str, Any] = found["run"]
        return run if found["workload"] == load.to_json() and not set(FIGURES) - run.keys() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def summarise(load: Workload, e: Engine, pools: bounds.Pools, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Make one row: medians of the successful runs (of all runs with figures, if none succeeded), and the ratios."""
    well = [run for run in runs if not run["error"]] or runs
    fluid, sim = bounds.fluid(load), bounds.simulate(load, pools).makespan
    medians = {name: _median([run[name] for run in well]) for name in FIGURES}
    steady = medians["steady"]
    return {
        "workload": load.name,
        "items": load.items,
        "fluid": fluid,
        "sim": sim,
        "pools": pools,
        "engine": e.name,
        "how": e.how,
        **medians,
        "to_sim": steady / sim if steady and sim else None,
        "to_fluid": steady / fluid if steady and fluid else None,
        "items_per_second": load.items / steady if steady else None,
        "failed_runs": sum(bool(run["error"]) for run in runs),
        "runs": runs,
    }


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _lacks(e: Engine, python: str) -> str:
    """Return why `e` cannot run with `python`, or "" if it can."""
    code = "import importlib.util, sys; print(*[m for m in sys.argv[1:] if importlib.util.find_spec(m) is None])"
    try:
        asked = subprocess.run(
            [python, "-c", code, "geoflow", "numpy", "ray", *e.needs],
            capture_output=True,
            text=True,
            env=environment(),
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        return f"{python} does not run: {error}"
    missing = asked.stdout.split()
    return f"{python} has no {', '.join(missing)}; pip install 'geoflow-video[bench]'" if missing else ""


def _brief(load: Workload, e: Engine, number: int, run: dict[str, Any]) -> str:
    if run["error"]:
        return f"{load.name} {e.name} run {number + 1}: {run['error'].strip().splitlines()[-1]}"
    steady = "" if run["steady"] is None else f"steady {run['steady']:.2f} s, "
    return f"{load.name} {e.name} run {number + 1}: {steady}makespan {run['makespan']:.1f} s"
