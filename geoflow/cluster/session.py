"""A Ray session: join a cluster, or start a Ray on this machine, and leave things as they were."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoflow.cluster.watch import own_processes, watched
from geoflow.errors import ConfigError

# Share of the object stores that segments in flight may fill. It lies below Ray's own spilling threshold (0.8), with
# room for copies of arguments on the way between nodes.
BUDGET_SHARE = 0.6
_KIND = "accelerator_type:"  # how Ray's resource for a kind of GPU is named
_LEFTOVERS = ("runtime_resources", "ray_spilled_objects")  # parts of a session's folder to remove; its logs are kept
_PLUGINS = "RAY_RUNTIME_ENV_PLUGINS"
_own: set[str] = set()  # the session of the Ray that this process started, while Ray is up


@dataclass(frozen=True)
class Capacity:
    """What a run may use of a cluster."""

    cpus: float
    gpus: int
    budget_bytes: int  # bytes of the object stores for segments in flight
    accelerators: str = ""  # kinds of GPU, with Ray's names


def capacity() -> Capacity:
    """Return what all nodes of the joined cluster have together at this moment."""
    import ray

    found = ray.cluster_resources()
    store = found.get("object_store_memory", 1 << 30)
    kinds = sorted(name.removeprefix(_KIND) for name in found if name.startswith(_KIND))
    return Capacity(found.get("CPU", 1), int(found.get("GPU", 0)), int(BUDGET_SHARE * store), "+".join(kinds))


def as_it_builds(env: dict[str, Any]) -> dict[str, Any]:
    """Return an environment in the form that this cluster takes: a Ray started by GeoFlow has its own `pip`."""
    if not _own:
        return env
    from geoflow.environments import overlay

    return overlay.instead_of_pip(env)


def number_of_nodes() -> int:
    """Return the number of nodes that can hold actors."""
    return len(_nodes())


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]


def on_every_node(
    function: Callable[..., Any], *args: Any, runtime_env: dict[str, Any] | None = None
) -> list[tuple[str, Any]]:
    """Call a function on every node that can hold actors, all at the same time; return (node's name, result) pairs.

    Raises the function's exception, from the first node where there is one.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(function)
    nodes = _nodes()
    options = {"num_cpus": 0, "max_retries": 0, **({"runtime_env": runtime_env} if runtime_env else {})}
    refs = [
        task.options(**options, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            *args
        )
        for node in nodes
    ]
    return list(zip([node["NodeManagerHostname"] for node in nodes], ray.get(refs)))


def is_up() -> bool:
    """Return whether this process has joined or started a Ray already; quick where it has not even imported Ray."""
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


def import_ray() -> None:
    """Import Ray ahead of its start: it takes half a second, in which a child process may do something else."""
    import ray  # noqa: F401


def where(address: str | None = None) -> str:
    """Return what `ray_cluster` would do, in words; "" if Ray is up already.

    Raises ConfigError if it would be one of a cluster that cannot be joined from here. A local Ray is not looked at.
    """
    if is_up():
        return ""
    address = address or os.environ.get("RAY_ADDRESS")
    if not address or address == "local":
        return "starting Ray on this machine"
    return f"joining the Ray cluster at {_knock(address)}"


@contextlib.contextmanager
def ray_cluster(address: str | None = None, **init: Any) -> Iterator[Callable[[], Capacity] | None]:
    """Provide a running Ray: the one already joined, the one at `address` (or $RAY_ADDRESS), or a fresh local one.

    A local Ray is shut down at the end. Yields a function that reports the capacity again after nodes joined or left;
    None for a local Ray, which has one node.

    Raises ConfigError if the address is invalid, or no cluster there can be joined from here.
    """
    import ray

    if ray.is_initialized():
        with watched():
            yield capacity
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # otherwise each process warns of a coming change
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # failures are in the ledger; Ray would report them again
    # A broken environment is tried once, not three times: the user is told after 17 s instead of 60.
    os.environ.setdefault("RUNTIME_ENV_RETRY_TIMES", "1")
    address = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, **init}
    if not address or address == "local":
        with _started(options), _quiet(), watched():
            yield None
        return
    _join(address, options)
    try:
        with _quiet(), watched():
            yield capacity
    finally:
        ray.shutdown()


def _join(address: str, options: dict[str, Any]) -> None:
    import ray

    place = _knock(address)
    try:
        ray.init(address=place, **options)
    except Exception as error:  # Ray raises many kinds, mostly plain ones
        ray.shutdown()
        raise ConfigError(f"the Ray cluster at {place} cannot be joined: {_in_a_line(error)}") from error


def _knock(address: str) -> str:
    """Return the address to join. Raises ConfigError if no cluster there can be joined."""
    from geoflow.cluster import joining

    try:
        return joining.knock(address)
    except ConfigError as error:
        given = "" if address != os.environ.get("RAY_ADDRESS") else "; the address comes from $RAY_ADDRESS"
        raise ConfigError(f"{error}{given}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what Ray prints about dead processes: dozens of lines about failures that the ledger reports, too."""
    from ray._private import worker

    printed = getattr(worker, "print_to_stdstream", None)  # Ray's error thread calls this, whatever its options say
    if printed is None:
        yield
        return
    worker.print_to_stdstream = lambda *args, **kwargs: None
    try:
        yield
    finally:
        worker.print_to_stdstream = printed


def _in_a_line(error: BaseException) -> str:
    return " ".join(str(error).split())


@contextlib.contextmanager
def _started(options: dict[str, Any]) -> Iterator[None]:
    """Start a Ray on this machine that builds environments GeoFlow's way and does not outlive this process."""
    import ray

    from geoflow.cluster import keeper
    from geoflow.environments import overlay

    plugins = [*json.loads(os.environ.get(_PLUGINS) or "[]"), overlay.PLUGIN]
    options = {"include_dashboard": False, **options}
    with keeper.kept() as kept:
        with _in_environment(_PLUGINS, json.dumps(plugins)), _geoflow_importable():
            session = _init_local(options)
        _own.add(session)
        kept.keep(list(own_processes().values()), [f"{session}/{name}" for name in _LEFTOVERS])
        try:
            yield
        finally:
            ray.shutdown()
            _own.discard(session)


def _init_local(options: dict[str, Any]) -> str:
    """Start Ray here, and return its session's folder.

    Ray's processes wait for each other for fixed times, which a busy machine may exceed. So it gets a second try.
    """
    import ray

    def start() -> str:
        session: str = ray.init(address="local", **options).address_info["session_dir"]  # "local" joins no other
        return session

    try:
        return start()
    except Exception:  # Ray raises many kinds, mostly plain ones
        ray.shutdown()
    try:
        return start()
    except Exception as error:
        raise ConfigError(f"Ray does not start on this machine: {error}; see /tmp/ray/session_latest/logs") from error


def _geoflow_importable() -> contextlib.AbstractContextManager[None]:
    """Let Ray's own processes and workers find GeoFlow.

    If GeoFlow is installed they find it by themselves. Only a folder that none of them would search is put onto
    $PYTHONPATH, since $PYTHONPATH comes before the packages of every environment: a folder of installed packages there
    would hide the versions that an environment pins.
    """
    from geoflow.environments import kept

    home = os.path.realpath(Path(__file__).parents[2])
    known = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    if home in map(os.path.realpath, [*kept.installed_packages(), *known]):
        return contextlib.nullcontext()
    return _in_environment("PYTHONPATH", os.pathsep.join([*known, home]))


@contextlib.contextmanager
def _in_environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
