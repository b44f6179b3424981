"""Joining and starting Ray, with a Ray that only pretends; the real one is behind every test marked `ray`."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from geoflow.cluster import joining, session
from geoflow.environments import kept, overlay
from geoflow.errors import ConfigError


class PretendedRay:
    """Fails to start a given number of times."""

    def __init__(self, failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures, self.starts, self.ends = failures, 0, 0
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", self.init)
        monkeypatch.setattr(ray, "shutdown", self.shutdown)
        monkeypatch.setattr(session, "_own", set())
        monkeypatch.setattr(joining, "knock", lambda address: address)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def init(self, **options: Any) -> Any:
        self.starts += 1
        self.python_path = os.environ.get("PYTHONPATH", "")
        if self.starts <= self.failures:
            raise RuntimeError("the raylet timed out")
        return SimpleNamespace(address_info={"session_dir": "/nowhere"})

    def shutdown(self) -> None:
        self.ends += 1


def test_a_local_ray_has_a_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    pretended = PretendedRay(1, monkeypatch)
    with session.ray_cluster() as look:
        assert look is None and pretended.starts == 2
    assert pretended.ends == 2, "of what had begun, and of what ran"


def test_a_ray_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    PretendedRay(2, monkeypatch)
    told = pytest.raises(ConfigError, match="does not start on this machine: the raylet timed out")
    with told, session.ray_cluster():
        pass


@pytest.mark.parametrize("where", ["checkout", "installed", "known"])
def test_no_folder_of_packages_comes_before_an_environment_s(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GeoFlow's own folder goes onto $PYTHONPATH only where Ray's processes would not find it without."""
    pretended = PretendedRay(0, monkeypatch)
    home = tmp_path / "lib"
    (home / "geoflow" / "engine").mkdir(parents=True)
    monkeypatch.setattr(session, "__file__", str(home / "geoflow" / "cluster" / "session.py"))
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setattr(kept, "installed_packages", lambda: [str(tmp_path / "link")] if where == "installed" else [])
    monkeypatch.setenv("PYTHONPATH", f"mine{os.pathsep}{home}" if where == "known" else "mine")
    with session.ray_cluster():
        found = pretended.python_path.split(os.pathsep)
    assert found == {"checkout": ["mine", str(home)], "installed": ["mine"], "known": ["mine", str(home)]}[where]


def test_only_a_ray_of_one_s_own_builds_overlays(monkeypatch: pytest.MonkeyPatch) -> None:
    PretendedRay(0, monkeypatch)
    env = {"pip": ["six"]}
    with session.ray_cluster("127.0.0.1:6379") as look:
        assert look is not None and session.as_it_builds(env) == env
    with session.ray_cluster():
        assert session.as_it_builds(env) == overlay.instead_of_pip(env) != env
    assert session.as_it_builds(env) == env
