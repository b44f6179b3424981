"""Joining a Ray cluster, or starting one on this machine, and leaving it as it was found."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from geoflow.errors import ConfigError


@contextlib.contextmanager
def ray_cluster(address: str | None = None, **init: Any) -> Iterator[dict[str, float]]:
    """Yield the resources of a running Ray: the one already joined, that at `address` (or $RAY_ADDRESS), or a
    fresh local one, which is shut down at the end.

    Raises ConfigError when no cluster answers at the address.
    """
    import ray

    if ray.is_initialized():
        yield ray.cluster_resources()
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else each process warns of a coming change
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # the ledger tells of what fails; Ray would tell it twice
    # A broken environment is tried once, not three times: 17 s until the user hears of it instead of 60.
    os.environ.setdefault("RUNTIME_ENV_RETRY_TIMES", "1")
    address = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, **init}
    if address:
        options["address"] = address
    else:
        options["address"] = "local"  # else Ray joins whatever cluster was last started on this machine
        options.setdefault("include_dashboard", False)
    try:
        ray.init(**options)
    except ConnectionError as error:
        raise ConfigError(f"no Ray cluster answers at {address}: {error}; start one with `ray start --head`") from None
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()


def object_store_bytes() -> int:
    """Memory of all object stores of the cluster together."""
    import ray

    return int(ray.cluster_resources().get("object_store_memory", 1 << 30))
