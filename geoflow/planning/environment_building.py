"""Build an environment once, outside of a run: does it start, how long does it take, how large is it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from geoflow.backends import loading as known_backends
from geoflow.cluster.session import as_it_builds, ray_cluster
from geoflow.engine.bridge.abroad import abroad
from geoflow.engine.bridge.child_process import ChildProcess
from geoflow.engine.bridge.remote_errors import ChildDied
from geoflow.engine.outcome import Outcome, outcome_of
from geoflow.environments import bare_packages, interpreter
from geoflow.environments.environment import explain_failure, load_runtime_env
from geoflow.environments.interpreter import Interpreter
from geoflow.errors import EnvironmentBroken

_ASKS_EVERY_S = 2.0


@dataclass(frozen=True)
class Built:
    """An environment that was built and started."""

    environment: str
    python: str
    backends: tuple[str, ...]  # backends that were imported in it
    loaded: bool  # whether their models were loaded, too
    seconds: float  # until an actor in it answered; Ray itself was up before
    bytes: int  # on disk; on a cluster, with what Ray copies of the environment around it
    own_bytes: int  # bytes of files that the environment around it does not have


def build(
    name: str,
    backends: Sequence[str] = (),
    *,
    load: bool = False,
    address: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Built:
    """Build an environment through Ray, start an actor in it, and import and warm these backends there.

    With `load`, load their models as well, with default parameters. `progress` gets the lines that a backend in another
    interpreter prints meanwhile.

    Raises ConfigError if there is no such environment or backend. Raises EnvironmentBroken, which names the cause, if
    the environment cannot be built or a backend does not start in it.
    """
    stated = load_runtime_env(name)
    foreign = interpreter.wanted(stated)
    env, bare = bare_packages.split(stated)
    for backend in backends:
        known_backends.load(backend)  # an unknown backend is reported before anything is built
    with ray_cluster(address):
        began = time.monotonic()
        archive = bare_packages.install(bare, name).read_bytes() if bare else None
        abroad_in = None if foreign is None else (foreign, name)
        answered = _ask_an_actor(as_it_builds(env), archive, list(backends), load, abroad_in, progress)
        seconds = time.monotonic() - began
    if (failure := answered.failure) is not None:
        raise EnvironmentBroken(explain_failure(failure.exception or failure.message, name))
    found: dict[str, Any] = answered.value
    if found.get("broken"):
        raise EnvironmentBroken(found["broken"])
    for backend, reason in found["failed"].items():
        if "ImportError" in reason or "ModuleNotFoundError" in reason:
            reason = f"\n{explain_failure(reason, name)}"
        raise EnvironmentBroken(f"environment {name!r} is built, but {backend} does not start in it: {reason}")
    sizes = {"bytes": found["bytes"], "own_bytes": found["own_bytes"]}
    return Built(name, found["python"], tuple(backends), load, seconds, **sizes)


def _ask_an_actor(
    env: dict[str, Any],
    archive: bytes | None,
    backends: list[str],
    load: bool,
    abroad_in: tuple[Interpreter, str] | None,
    progress: Callable[[str], None] | None,
) -> Outcome:
    import ray

    class Visitor:  # sent by value, like the host of a stage
        def __init__(self) -> None:
            self._said: list[str] = []

        def look(self, archive: bytes | None, around: str, backends: list[str], load: bool) -> Any:
            from geoflow.environments import bare_packages
            from geoflow.planning import environment_building

            if abroad_in is not None:
                return environment_building.look_abroad(*abroad_in, backends, load, self._said.append)
            home = "" if archive is None else str(bare_packages.make_importable(archive))
            return environment_building.look(home, around, backends, load)

        def said(self) -> list[str]:
            return [self._said.pop(0) for _ in range(len(self._said))]

    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": 0, **({"runtime_env": env} if env else {})}
    threads = 1 if abroad_in is None or progress is None else 2  # one of them answers while the other one looks
    visitor = ray.remote(Visitor).options(max_concurrency=threads, **options).remote()
    try:
        looking = visitor.look.remote(archive, sys.prefix, backends, load)
        done = progress is None or threads == 1
        while not done:
            done = bool(ray.wait([looking], timeout=_ASKS_EVERY_S)[0])
            for line in outcome_of(visitor.said.remote()).value or ():
                progress(line)  # type: ignore[misc]
        return outcome_of(looking)
    finally:
        ray.kill(visitor, no_restart=True)


def look(bare_home: str, around: str, backends: Sequence[str], load: bool) -> dict[str, Any]:
    """Look around in the actor: which backends fail, and the environment's size beside the one `around` it.

    `around` is a prefix of Python's.
    """
    failed = {backend: reason for backend in backends if (reason := _does_not_come_up(partial(_try, backend, load)))}
    beside = not os.path.isdir(around) or not os.path.samefile(sys.prefix, around)
    whole, own = sizes(Path(sys.prefix), Path(around)) if beside else (0, 0)
    bare = sizes(Path(bare_home), Path(bare_home) / "none")[0] if bare_home else 0
    python = ".".join(map(str, sys.version_info[:3]))
    return {"failed": failed, "python": python, "bytes": whole + bare, "own_bytes": own + bare}


def look_abroad(
    foreign: Interpreter, env: str, backends: Sequence[str], load: bool, tell: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Look around, from an actor, in the interpreter that an environment states: it is made if GeoFlow makes it.

    `tell` gets each line that a backend prints there.
    """
    try:
        python = interpreter.prepare(foreign, env)
        ChildProcess(python, env, "geoflow").end()
    except (EnvironmentBroken, ChildDied) as error:
        return {"broken": f"environment {env!r} cannot be used: {error}"}
    failed = {}
    for backend in backends:
        stage: Any = abroad(known_backends.load(backend), backend, foreign, env)()
        stage.listener = tell
        if reason := _does_not_come_up(partial(_try_abroad, stage, load)):
            failed[backend] = reason
    whole, own = sizes(Path(python.prefix), Path(python.prefix) / "none") if foreign.python else (0, 0)
    return {"failed": failed, "python": ".".join(map(str, python.version)), "bytes": whole, "own_bytes": own}


def sizes(folder: Path, around: Path) -> tuple[int, int]:
    """Return the bytes of all files in a folder, and of those that `around` lacks in the same place and size."""
    whole = own = 0
    for path, size in _files(folder):
        whole += size
        try:
            same = os.lstat(around / path).st_size == size
        except OSError:
            same = False
        own += 0 if same else size
    return whole, own


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    for home, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(home, name)
            if not os.path.islink(path):
                yield os.path.relpath(path, folder), os.path.getsize(path)


def _try(backend: str, load: bool) -> None:
    stage = known_backends.load(backend)()
    stage.threads = len(os.sched_getaffinity(0))
    stage.warm()
    if load:
        stage.setup()
        stage.teardown()


def _try_abroad(stage: Any, load: bool) -> None:
    stage.threads = len(os.sched_getaffinity(0))
    try:
        stage.warm()
        if load:
            stage.setup()
    finally:
        stage.teardown()


def _does_not_come_up(start: Callable[[], None]) -> str:
    """Return why a backend does not start; "" if it does."""
    try:
        start()
    except Exception as error:  # a foreign package may raise anything when it is imported
        return f"{type(error).__name__}: {error}"
    return ""
