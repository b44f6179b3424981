"""How golden data of GeometryCrafter is run with the networks in Jittor: the cases are GeometryCrafter's own.

Jittor runs in the environment of the backend, which is made where it is missing, and compiles its core and kernels
there once (`jittor_cases`). One process runs all cases, so that nothing is compiled or loaded twice.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golden import Case, Comparison, Unusable

from geoflow.environments import interpreter
from geoflow.environments.environment import load_runtime_env
from geoflow.errors import EnvironmentBroken

DATA = "geometrycrafter"  # whose cases these are
ENVIRONMENT = "geometrycrafter_jittor"
_SCRIPT = Path(__file__).with_name("jittor_cases.py")


def prepare() -> None:
    """Make the environment if it is missing, and start Jittor in it. Raises Unusable that says what is missing."""
    _child()


@functools.cache
def _child() -> subprocess.Popen[str]:
    try:
        wanted = interpreter.wanted(load_runtime_env(ENVIRONMENT))
        assert wanted is not None
        home = interpreter.home_of(wanted)
        if not home.is_dir():
            print(f"making the environment {ENVIRONMENT} in {home}", file=sys.stderr, flush=True)
        python = interpreter.prepare(wanted, ENVIRONMENT).executable
    except EnvironmentBroken as error:
        raise Unusable(str(error)) from error
    variables = os.environ | {
        "PYTHONPATH": str(_SCRIPT.parents[2])
    }  # GeoFlow itself; tests/support is the script's own
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen([python, str(_SCRIPT)], env=variables, text=True, **pipes)
    _read(child)
    return child


def _read(child: subprocess.Popen[str]) -> Any:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise Unusable(f"the process with Jittor has ended with exit status {child.wait()}; see its output above")
    reply = json.loads(line)
    if "unusable" in reply:
        raise Unusable(reply["unusable"])
    return reply


def _ask(**request: Any) -> list[Comparison]:
    child = _child()
    assert child.stdin is not None
    try:
        child.stdin.write(json.dumps(request) + "\n")
        child.stdin.flush()
    except BrokenPipeError:
        raise Unusable("the process with Jittor has ended; see its output above") from None
    reply = _read(child)
    rows = [Comparison(*row) for row in reply["compared"]]
    if "fault" in reply:
        raise AssertionError(reply["fault"])
    return rows


def run(case: Case, *, in_parts: bool = False, **changes: Any) -> None:
    """Run a case in the process with Jittor; `changes` are options of a pipeline that differ from the side-car's.

    `in_parts`: layers get few frames, and attention few queries, at a time, as those of large videos do.
    """
    for row in _ask(folder=str(case.folder.resolve()), name=case.name, changes=changes, in_parts=in_parts):
        case.note(row.output, row.error, row.allowed, row.rule)


def keys(path: Path) -> list[Comparison]:
    """Compare parameter names and shapes of the networks with those that a file lists."""
    return _ask(keys=str(path.resolve()))


RUNNERS: dict[str, Callable[[Case], None]] = dict.fromkeys(
    ("unet", "point_map_vae", "clip", "scheduler", "priors", "codec", "determ", "diff"), run
)
LISTS = {"keys_full.json": keys}
