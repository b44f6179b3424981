"""`interpreter` in an environment's file: what it may say, which Python that is here, and what is kept of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from bridged_stages import Foreign

from geoflow.engine.bridge.abroad import abroad
from geoflow.environments import bare_packages, checking, interpreter, kept
from geoflow.environments.interpreter import Interpreter
from geoflow.environments.pythons import ask, conda_python, find_python
from geoflow.errors import ConfigError, EnvironmentBroken
from geoflow.pipeline import Pipeline
from geoflow.planning import environment_pruning
from geoflow.planning.environment_pruning import find_environments

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def env_file(folder: Path, text: str) -> str:
    path = folder / "other.yaml"
    path.write_text(text)
    return str(path)


def pipeline(env: str) -> Pipeline:
    return Pipeline.load("embedded", {"prior.env": env})


def test_each_way_to_state_one_is_read_and_ray_gets_the_rest(tmp_path: Path) -> None:
    own: dict[str, Any] = {"interpreter": {"python": "3.11", "packages": ["six"]}, "env_vars": {"A": "b"}}
    assert interpreter.wanted(own) == Interpreter(python="3.11", packages=("six",))
    assert bare_packages.split(own) == ({"env_vars": {"A": "b"}}, [])
    assert str(interpreter.wanted({"interpreter": {"path": "/opt/jt/bin/python"}})) == "/opt/jt/bin/python"
    assert str(interpreter.wanted({"interpreter": {"conda": "jt"}})) == "conda environment jt"
    assert interpreter.wanted({"pip": ["six"]}) is None
    assert checking.packages(own) == ["six"]
    good = env_file(tmp_path, "interpreter: {python: '3.11', packages: ['six==1.16.0']}\nenv_vars: {A: b}\n")
    assert checking.problems(good) == [] == checking.faults(good)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("interpreter: /opt/python\n", "should be a mapping with one of python, path, conda"),
        ("interpreter: {path: /a, conda: b}\n", "should be a mapping with one of"),
        ("interpreter: {python: 3.10}\n", "should be a text, in quotes: a YAML file means 3.1 by 3.10, found 3.1"),
        ("interpreter: {python: '3.9'}\n", "interpreter.python is 3.9, and GeoFlow needs Python 3.10 or newer"),
        ("interpreter: {python: '3.11.4'}\n", "should be a version such as"),
        ("interpreter: {python: '3.11', package: [six]}\n", "interpreter.package is no option here: it has"),
        ("interpreter: {path: /a, packages: [six]}\n", "only GeoFlow's own, made for `python`, has packages"),
        ("interpreter: {python: '3.11', packages: six}\n", "interpreter.packages should be a list of texts"),
        ("interpreter: {python: '3.11', packages: ['six >> 1']}\n", "six >> 1 is not a requirement"),
        ("interpreter: {path: /a}\npip: [six]\n", "pip is for Ray's Python, in which no stage runs"),
        ("interpreter: {path: bin/python}\n", "interpreter.path should be absolute"),
        ("interprter: {path: /a}\n", "is interpreter meant?"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_before_anything_starts(tmp_path: Path, text: str, message: str) -> None:
    path = env_file(tmp_path, text)
    assert any(message in line for line in checking.problems(path)), checking.problems(path)
    if "interprter" not in text and ">>" not in text:
        with pytest.raises(ConfigError, match=r"other\.yaml"):
            pipeline(path)
    assert any(message in line for line in checking.faults(path))


def test_a_conda_environment_is_found_by_name_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "miniforge" / "envs" / "geo_jt"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(EnvironmentBroken, match="no conda environment 'geo_jt'"):
        conda_python("geo_jt")
    monkeypatch.setenv("CONDA_EXE", str(tmp_path / "miniforge" / "bin" / "conda"))
    assert conda_python("geo_jt") == home / "bin" / "python" == conda_python(str(home))
    monkeypatch.delenv("CONDA_EXE")
    (tmp_path / ".conda").mkdir()
    (tmp_path / ".conda" / "environments.txt").write_text(f"/other/place\n{home}\n")
    assert conda_python("geo_jt") == home / "bin" / "python"


def test_an_interpreter_that_prints_when_it_starts_is_understood(tmp_path: Path) -> None:
    noisy = tmp_path / "python"
    noisy.write_text(f'#!/bin/sh\necho welcome; {sys.executable} "$@"; echo bye\n')
    noisy.chmod(0o755)
    found = ask(noisy)
    assert found is not None and found.version == sys.version_info[:3] and found.numpy
    assert ask(tmp_path / "absent") is None


def test_a_version_is_found_and_a_missing_one_is_named() -> None:
    assert find_python(VERSION).version[:2] == sys.version_info[:2]
    with pytest.raises(EnvironmentBroken, match=r"no Python 3\.99; install it on every node"):
        find_python("3.99")


def test_other_packages_in_the_user_s_interpreter_are_other_work(tmp_path: Path) -> None:
    python, packages = tmp_path / "jt" / "bin" / "python", tmp_path / "jt" / "lib" / "python3.11" / "site-packages"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    (packages / "jittor-1.3.11.dist-info").mkdir(parents=True)
    pipe = pipeline(env_file(tmp_path, f"interpreter: {{path: {python}}}\n"))
    (prior,) = [spec for spec in pipe.stages if spec.slot == "prior"]
    before = prior.signature()
    assert before == prior.signature()
    (packages / "jittor-1.3.11.dist-info").rename(packages / "jittor-1.3.12.dist-info")
    assert before != prior.signature()


@pytest.mark.long
def test_what_pip_refuses_is_explained_and_leaves_nothing(tmp_path: Path) -> None:
    wrong = Interpreter(python=VERSION, packages=(str(tmp_path / "absent.whl"),))
    with pytest.raises(EnvironmentBroken, match="environment 'mine' cannot be built"):
        interpreter.prepare(wrong, "mine")
    assert [path for path in kept.folder().iterdir() if path.is_dir()] == []


@pytest.mark.env
@pytest.mark.parametrize("version", [VERSION, "3.12"])
def test_one_of_another_version_is_made_once_runs_a_stage_and_can_be_pruned(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        find_python(version)
    except EnvironmentBroken as error:
        pytest.skip(str(error))
    foreign = Interpreter(python=version, packages=("numpy<2.3",))
    stage = abroad(Foreign, "bridged_stages:Foreign", foreign, "other")()
    stage.setup()
    try:
        where = stage._ask("where")
        assert "{}.{}".format(*where["python"]) == version and "ray" not in where["modules"]
        assert Path(where["executable"]).is_relative_to(interpreter.home_of(foreign))
    finally:
        stage.teardown()
    made = os.stat(interpreter.home_of(foreign)).st_mtime_ns
    interpreter.prepare(foreign, "other")
    assert os.stat(interpreter.home_of(foreign)).st_mtime_ns == made
    monkeypatch.setattr(environment_pruning, "_in_use", lambda path: "")  # by a Ray of somebody else's on this machine
    (row,) = find_environments()
    assert not row.removable and "no file of runtime_envs/ asks for it" in row.reason
    wanted = env_file(tmp_path, f"interpreter: {{python: '{version}', packages: ['numpy<2.3']}}\n")
    (row,) = find_environments([wanted], unwanted=True)
    assert not row.removable and "it is the present environment" in row.reason
    (row,) = find_environments(unwanted=True)
    assert row.removable
