"""Environments that borrow what they lack, built for real by pip from a wheel on disk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from test_envs import tiny_wheel

from geoflow.environments import overlay
from geoflow.files.resources import cache_folder


@pytest.fixture(autouse=True)
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only place where pip finds anything."""
    tiny_wheel(tmp_path / "wheels")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))


def wanted(packages: object) -> dict[str, object]:
    found: dict[str, object] = overlay.instead_of_pip({"pip": packages})[overlay.FIELD]
    return found


def test_all_of_ray_s_ways_to_write_pip_are_read(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("six\n")
    file = ["-r", str(tmp_path / "more.txt")]
    assert wanted(["six"])["packages"] == ["six"]
    assert wanted(file[1])["packages"] == wanted({"packages": file[1]})["packages"] == file
    full = {"packages": ["six"], "pip_install_options": ["--no-deps"], "pip_check": True}
    assert wanted(full) == {"packages": ["six"], "options": ["--no-deps"], "check": True}
    env = {"env_vars": {"A": "b"}, "uv": ["six"]}
    assert overlay.instead_of_pip(env) == env, "what is not pip's is left to Ray"


@pytest.mark.long
def test_an_environment_has_its_own_and_what_is_around_it(tmp_path: Path) -> None:
    left = cache_folder() / "environments" / f"{overlay.key(wanted(['geoflow-tiny==1.0']))}.new"
    (left / "lib" / "python0" / "site-packages").mkdir(parents=True)  # by a run that was killed while it made it
    python = overlay.install(wanted(["geoflow-tiny==1.0"]), {})
    assert not left.exists()
    look = "import geoflow, geoflow_tiny, numpy; print(geoflow_tiny.__file__); print(numpy.__file__)"
    own, around = subprocess.check_output([python, "-c", look], text=True, cwd=tmp_path).split()
    home = python.parents[1]
    assert Path(own).is_relative_to(home) and not Path(around).is_relative_to(home)
    made = home.stat().st_mtime_ns
    assert overlay.install(wanted(["geoflow-tiny==1.0"]), {}) == python and home.stat().st_mtime_ns == made
    assert overlay.install(wanted({"packages": ["geoflow-tiny"]}), {}) != python


@pytest.mark.long
@pytest.mark.parametrize("where", ["PYTHONPATH", "sys.path"])
def test_what_an_environment_pins_comes_before_whatever_stands_on_the_path(tmp_path: Path, where: str) -> None:
    """Another release of the package, and a namesake of a module of the standard library, in a user's folder."""
    for folder in ("theirs", "mine"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "geoflow_tiny.py").write_text("ANSWER = 41\n")
        (tmp_path / folder / "only_there.py").write_text(f"WHERE = {folder!r}\n")
    python = overlay.install(wanted(["geoflow-tiny==1.0"]), {})
    (inside,) = python.parents[1].glob("lib/python*/site-packages")
    (inside / "queue.py").write_text("raise ImportError('a backport')\n")
    theirs = str(tmp_path / "theirs")
    env = {**os.environ, "PYTHONPATH": theirs} if where == "PYTHONPATH" else {**os.environ}
    put = f"sys.path.insert(0, {theirs!r})" if where == "sys.path" else "pass"
    code = (
        f"import sys; {put}\nimport geoflow_tiny, only_there, queue, numpy\n"
        f"sys.path.insert(0, {str(tmp_path / 'mine')!r}); del sys.modules['geoflow_tiny'], sys.modules['only_there']\n"
        "import geoflow_tiny as again, only_there as next\n"
        "print(geoflow_tiny.ANSWER, again.ANSWER, only_there.WHERE, next.WHERE)"
    )
    found = subprocess.check_output([python, "-c", code], text=True, cwd=tmp_path, env=env).split()
    assert found[:2] == ["42", "42"], "those of the environment"
    assert found[2:] == ["theirs", "mine"], "what it has not is found where the path says"


@pytest.mark.long
def test_what_an_environment_pins_wins_within_a_namespace(tmp_path: Path) -> None:
    """As google.protobuf, beside which the core has google.api."""
    python = overlay.install(wanted(["geoflow-tiny==1.0"]), {})
    (inside,) = python.parents[1].glob("lib/python*/site-packages")
    for folder, names in ((inside, ["one"]), (tmp_path / "theirs", ["one", "two"])):
        (folder / "shared_name").mkdir(parents=True)
        for name in names:
            (folder / "shared_name" / f"{name}.py").write_text(f"WHERE = {folder.name!r}\n")
    code = "from shared_name import one, two; print(one.WHERE, two.WHERE)"
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "theirs")}
    assert subprocess.check_output([python, "-c", code], text=True, env=env).split() == ["site-packages", "theirs"]


def test_what_is_borrowed_from_a_user_s_folder_makes_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = overlay.key(wanted(["six"]))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert overlay.key(wanted(["six"])) == plain, "nothing is installed there"
    (tmp_path / "six-1.0.dist-info").mkdir()
    assert overlay.key(wanted(["six"])) != plain


@pytest.mark.long
def test_a_requirements_file_that_changes_makes_another(tmp_path: Path) -> None:
    file = tmp_path / "more.txt"
    file.write_text("geoflow-tiny\n")
    first = overlay.install(wanted(str(file)), {})
    file.write_text("geoflow-tiny==1.0\n")
    assert overlay.install(wanted(str(file)), {}) != first


@pytest.mark.long
def test_what_failed_leaves_nothing_and_says_what_pip_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"No matching distribution found for geoflow-tiny==2\.0"):
        overlay.install(wanted(["geoflow-tiny==2.0"]), {})
    with pytest.raises(RuntimeError, match="-m pip install failed"):
        overlay.install(wanted(["geoflow-tiny"]), {"PIP_FIND_LINKS": str(tmp_path / "none")})
    left = [path for path in (cache_folder() / "environments").iterdir() if path.suffix != ".lock"]
    assert left == []
