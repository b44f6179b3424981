"""Joining and starting Ray, with a Ray that only pretends; the real one is behind every test marked `ray`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray

from geoflow.engine import cluster, overlay
from geoflow.errors import ConfigError


class PretendedRay:
    """Fails to start as often as it is told to."""

    def __init__(self, failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures, self.starts, self.ends = failures, 0, 0
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", self.init)
        monkeypatch.setattr(ray, "shutdown", self.shutdown)
        monkeypatch.setattr(cluster, "_own", set())
        monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def init(self, **options: Any) -> Any:
        self.starts += 1
        if self.starts <= self.failures:
            raise RuntimeError("the raylet timed out")
        return SimpleNamespace(address_info={"session_dir": "/nowhere"})

    def shutdown(self) -> None:
        self.ends += 1


def test_a_local_ray_has_a_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    pretended = PretendedRay(1, monkeypatch)
    with cluster.ray_cluster() as look:
        assert look is None and pretended.starts == 2
    assert pretended.ends == 2, "of what had begun, and of what ran"


def test_a_ray_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    PretendedRay(2, monkeypatch)
    told = pytest.raises(ConfigError, match="does not start on this machine: the raylet timed out")
    with told, cluster.ray_cluster():
        pass


def test_only_a_ray_of_one_s_own_builds_overlays(monkeypatch: pytest.MonkeyPatch) -> None:
    PretendedRay(0, monkeypatch)
    env = {"pip": ["six"]}
    with cluster.ray_cluster("127.0.0.1:6379") as look:
        assert look is not None and cluster.as_it_builds(env) == env
    with cluster.ray_cluster():
        assert cluster.as_it_builds(env) == overlay.instead_of_pip(env) != env
    assert cluster.as_it_builds(env) == env
