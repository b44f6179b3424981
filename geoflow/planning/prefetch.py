"""A pipeline's weights on every node of a cluster, before a run needs them."""

from __future__ import annotations

import sys
from typing import Any

from geoflow.backends import weights
from geoflow.cluster.session import on_every_node, ray_cluster
from geoflow.environments import bare_packages
from geoflow.environments.environment import load_runtime_env
from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline


def prefetch(
    pipeline: str = "geometry", *, settings: dict[str, Any] | None = None, address: str | None = None
) -> dict[str, list[str]]:
    """Fetch all weights of a pipeline on every node; return the folders by node.

    Each stage's weights are fetched in the stage's own environment, which is thereby built as well. If nodes share a
    cache, one of them downloads. Raises ConfigError that names the node and what it lacks.
    """
    found: dict[str, list[str]] = {}
    failed: list[str] = []
    with ray_cluster(address):
        for spec in Pipeline.load(pipeline, settings).stages:
            if not (needs := spec.make_stage().weights()):
                continue
            env, _ = bare_packages.split(load_runtime_env(spec.env)) if spec.env else ({}, [])
            for node, (folders, reason) in on_every_node(_fetch, spec.backend, needs, runtime_env=env):
                print(f"{node}: {spec.backend}: {reason or ', '.join(folders)}", file=sys.stderr)
                found.setdefault(node, []).extend(folders)
                failed += [f"{node}: {spec.slot}: {reason}"] if reason else []
    if failed:
        raise ConfigError("weights cannot be fetched:\n" + "\n".join(f"  {line}" for line in failed))
    return found


def _fetch(backend: str, needs: dict[str, str]) -> tuple[list[str], str]:
    """Return folders, or why there are none: an exception of a foreign environment might not reach the driver."""
    try:
        return sorted({str(weights.locate(backend, name, own)) for name, own in needs.items()}), ""
    except ConfigError as error:
        return [], str(error)
