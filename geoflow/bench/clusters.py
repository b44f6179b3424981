"""A Ray of several nodes on one machine, to measure what a run does on a cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from geoflow.bench.peer_processes import environment

_STORE_BYTES = 256 << 20  # bytes of each node's object store


@contextmanager
def simulated_cluster(
    nodes: Sequence[dict[str, int]],
    *,
    head_cpus: int = 0,
    health_check: dict[str, int] | None = None,
    folders: Sequence[Path] = (),
) -> Iterator[tuple[Any, list[Any]]]:
    """Start a head and `nodes`, such as `[{"num_cpus": 4}]`, connect to them, and always end them afterwards.

    `health_check` are Ray's settings for when it gives up a node; `folders` are where workers look for modules besides
    GeoFlow's. Yields Ray's Cluster and its nodes without the head, in the order of `nodes`.
    """
    # Workers inherit the environment that this process has when the nodes start.
    known = environment().get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([*map(str, folders), *filter(None, [known])])
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as `ray_cluster` does
    import ray
    from ray.cluster_utils import Cluster

    store = {"object_store_memory": _STORE_BYTES}
    config = {"_system_config": health_check} if health_check else {}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": head_cpus, **store, **config})
    with ExitStack() as ends:  # each is called even if an interrupt cuts the other short
        ends.callback(cluster.shutdown)
        ends.callback(ray.shutdown)
        started = [cluster.add_node(**node, **store) for node in nodes]
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        cluster.wait_for_nodes()
        yield cluster, started
