"""What a visit to a GPU machine runs: a table of steps, each a process of its own with a limit, each leaving one JSON.

`visit.sh [OUT] [--device cpu] [--small] [--seconds 460] [--only STEP,STEP]`; `--device cpu --small` rehearses it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LEAST_S = 10.0  # of the visit's time, for another step to begin
FRAMES = 110  # one window of GeometryCrafter
LARGE, SMALLER = (576, 1024), (384, 640)  # height, width, px
TRACKED, QUERIES = 96, 1024  # frames of one segment of TAPIP3D, and points
TRACKED_LARGE, TRACKED_SMALLER = (543, 724), (384, 512)  # of its `resolution_factor` 2 and 1
HANDS: dict[str, Any] = {"depth": 32, "batches": [1, 16, 64]}  # WiLoR's layers, and hands computed at once
OBJECTS: dict[str, Any] = {"frames": 60, "objects": [1, 3, 8]}  # SAM 2.1's
REHEARSAL = {
    "frames": 6, LARGE: (128, 192), SMALLER: (64, 128),
    "tracks": 20, TRACKED_LARGE: (128, 192), TRACKED_SMALLER: (96, 128),
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One measurement; its process prints JSON lines on stdout."""

    name: str
    limit_s: float
    command: list[str]
    env: dict[str, str]


def steps(device: str, small: bool) -> list[Step]:
    """All of them, the most telling first: what does not fit into the visit's time falls off the end."""
    env = {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}

    def geometry(way: str, model_type: str, size: tuple[int, int], limit_s: float) -> Step:
        height, width = REHEARSAL[size] if small else size  # type: ignore[index]
        options = {"model_type": model_type, "height": height, "width": width}
        frames = REHEARSAL["frames"] if small else FRAMES
        job = {"way": way, "frames": frames, "options": options, "device": device, "small": small}
        name = f"{way}-{width}x{height}" if way == "prior" else f"{model_type}-{way}-{width}x{height}"
        return Step(
            name, limit_s, [sys.executable, "-m", "geoflow.bench.geometry.geometry_child", json.dumps(job)], env
        )

    def tracks(size: tuple[int, int], limit_s: float, dtype: str = "bfloat16", compiled: bool = False) -> Step:
        height, width = REHEARSAL[size] if small else size  # type: ignore[index]
        frames, queries, iterations = (REHEARSAL["tracks"], 16, 1) if small else (TRACKED, QUERIES, 6)
        job = {"device": device, "small": small, "frames": frames, "size": [height, width], "queries": queries}
        job |= {"iterations": iterations, "dtype": dtype, "compile": compiled}
        name = f"tracks-{dtype}{'-compiled' if compiled else ''}-{width}x{height}"
        return Step(name, limit_s, [sys.executable, "-m", "geoflow.bench.tracking.gpu_tracking", json.dumps(job)], env)

    def objects(model: str, limit_s: float, size: int = 1024) -> Step:
        job = {"device": device, "small": small, "model": model, "dtype": "bfloat16"}
        job |= {"size": 64, "frames": 4, "objects": [1, 2]} if small else {"size": size, **OBJECTS}
        name = f"objects-{model}-{job['size']}"
        return Step(name, limit_s, [sys.executable, "-m", "geoflow.bench.sam2.gpu_objects", json.dumps(job)], env)

    hands = {"device": device, "depth": 1, "batches": [1, 2]} if small else {"device": device, **HANDS}
    measured = [sys.executable, "-m", "geoflow.bench.hand_model.hand_model_gpu", json.dumps(hands)]
    return [
        geometry("streaming", "determ", LARGE, 70),
        tracks(TRACKED_LARGE, 60),
        Step("hands", 40, measured, env),
        objects("large", 60),
        Step("tests", 100, [sys.executable, str(Path(__file__).parent / "tests.py")], env),
        geometry("streaming", "diff", LARGE, 90),
        tracks(TRACKED_SMALLER, 50),
        tracks(TRACKED_LARGE, 60, "float32"),
        geometry("prior", "diff", LARGE, 40),
        geometry("plain", "determ", LARGE, 80),
        geometry("ladder", "determ", LARGE, 160),
        geometry("streaming", "determ", SMALLER, 40),
        geometry("streaming", "diff", SMALLER, 40),
        geometry("plain", "diff", LARGE, 90),
        geometry("plain", "determ", SMALLER, 40),
        geometry("plain", "diff", SMALLER, 50),
        geometry("prior", "diff", SMALLER, 30),
        tracks(TRACKED_LARGE, 120, compiled=True),
        objects("tiny", 40),
        objects("large", 40, 512),
    ]


def take(step: Step, limit_s: float) -> dict[str, Any]:
    """Run one step. What it printed before it was ended or failed is kept, beside how it ended."""
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": _pythonpath(), **step.env}
    began = time.monotonic()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process: Any = subprocess.Popen(step.command, env=env, cwd=ROOT, start_new_session=True, **pipes)  # type: ignore[call-overload]
    try:
        out, err = process.communicate(timeout=limit_s)
        ended = "ok" if process.returncode == 0 else f"failed with status {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        ended = f"ended after its {limit_s:.0f} s"
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    found = {"step": step.name, "ended": ended, "wall_s": round(time.monotonic() - began, 1), "rows": rows}
    return found if ended == "ok" else {**found, "errors": err.splitlines()[-30:]}


def _pythonpath() -> str:
    known = (str(ROOT), os.environ.get("GEOFLOW_VISIT_SITE"), os.environ.get("PYTHONPATH"))
    return os.pathsep.join(filter(None, known))


def facts(device: str) -> dict[str, Any]:
    """The device, and what computes on it."""
    import torch

    found = {"device": device, "torch": torch.__version__, "python": sys.version.split()[0], "cores": os.cpu_count()}
    if device.startswith("cuda"):
        card = torch.cuda.get_device_properties(device)
        found |= {"device": card.name, "memory_mb": card.total_memory / 1e6, "cuda": torch.version.cuda}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="visit.sh", description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "benchmarks" / "gpu" / "results")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a rehearsal")
    parser.add_argument("--small", action="store_true", help="small networks and few frames")
    parser.add_argument("--seconds", type=float, default=460, help="for the whole visit")
    parser.add_argument("--only", default="", help="names of steps, separated by commas")
    given = parser.parse_args()
    began, machine = time.monotonic(), facts(given.device)
    folder = given.out / machine["device"].replace(" ", "_")
    folder.mkdir(parents=True, exist_ok=True)
    only = [name for name in given.only.split(",") if name]
    todo = [step for step in steps(given.device, given.small) if not only or step.name in only]
    if unknown := set(only) - {step.name for step in todo}:
        parser.error(f"no such step: {', '.join(sorted(unknown))}")
    failed = 0
    for step in todo:
        left = given.seconds - (time.monotonic() - began)
        if left > LEAST_S:
            found = take(step, min(left, step.limit_s))
        else:
            found = {"step": step.name, "ended": "not run: time is up"}
        failed += found["ended"] != "ok"
        (folder / f"{step.name}.json").write_text(json.dumps({**machine, **found}, indent=1) + "\n")
        print(step.name, found["ended"], f"{found.get('wall_s', 0)} s", flush=True)
        for row in found.get("rows", []):
            print("   ", {key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()})
        for line in found.get("errors", [])[-6:]:
            print("    |", line)
    print(f"{len(todo) - failed} of {len(todo)} steps ok in {time.monotonic() - began:.0f} s: {folder}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
