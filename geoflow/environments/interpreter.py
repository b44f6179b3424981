"""The Python that runs a stage where it must not be Ray's own: `interpreter` in an environment's YAML.

    interpreter: {python: "3.11", packages: ["jittor==1.3.11.0", "numpy<2"]}   # made and kept by GeoFlow
    interpreter: {path: /opt/geo_jt/bin/python}                               # the user's own
    interpreter: {conda: geo_jt}                                              # an environment of conda, by name or path

Each node finds or makes its own. What runs a stage in it is `geoflow.engine.bridge`.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoflow.environments import kept
from geoflow.environments.environment import explain_failure
from geoflow.environments.making import PYTHON, make_once, run
from geoflow.environments.pythons import FoundPython, ask, conda_python, find_python
from geoflow.errors import ConfigError, EnvironmentBroken

KEY = "interpreter"
LEAST_PYTHON = (3, 10)  # as GeoFlow's own

_KINDS = ("python", "path", "conda")
_FOR_PYTHON = ("packages", "pip_install_options")
_VERSION = re.compile(r"3\.\d+")
# Keys that change Ray's Python, in which the stage does not run.
_RAYS_PYTHON = ("pip", "uv", "conda", "py_executable", "without_dependencies", "container", "image_uri")
_OPTIONS = ("--disable-pip-version-check",)


@dataclass(frozen=True)
class Interpreter:
    """Exactly one of `python`, `path` and `conda` is stated; the others are ""."""

    python: str = ""  # version, such as 3.11
    packages: tuple[str, ...] = ()  # that GeoFlow installs into it, beside numpy
    pip_install_options: tuple[str, ...] = _OPTIONS
    path: str = ""  # of an executable
    conda: str = ""  # name or folder of an environment

    def __str__(self) -> str:
        return f"Python {self.python}" if self.python else self.path or f"conda environment {self.conda}"


def wanted(env: dict[str, Any]) -> Interpreter | None:
    """Return the interpreter that an environment states; None if its stages run in Ray's Python.

    Raises ConfigError that says what is wrong with it.
    """
    if KEY not in env:
        return None
    for problem in problems(env):
        raise ConfigError(problem)
    stated: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in env[KEY].items()}
    return Interpreter(**stated)


def problems(env: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with `interpreter` in an environment, a line each."""
    stated = env.get(KEY)
    if KEY not in env:
        return
    if not isinstance(stated, dict) or sum(kind in stated for kind in _KINDS) != 1:
        yield f"{KEY} should be a mapping with one of {', '.join(_KINDS)}, found {stated!r:.80}"
        return
    known = (*_KINDS, *(_FOR_PYTHON if "python" in stated else ()))
    for key in sorted(set(map(str, stated)) - set(known)):
        why = (
            "only GeoFlow's own, made for `python`, has packages"
            if key in _FOR_PYTHON
            else f"it has {', '.join(known)}"
        )
        yield f"{KEY}.{key} is no option here: {why}"
    for kind in _KINDS:
        if kind in stated and (not isinstance(stated[kind], str) or not stated[kind]):
            hint = ", in quotes: a YAML file means 3.1 by 3.10" if kind == "python" else ""
            yield f"{KEY}.{kind} should be a text{hint}, found {stated[kind]!r}"
    path = stated.get("path")
    if isinstance(path, str) and not path.startswith(("/", "~")):
        yield f"{KEY}.path should be absolute, since nodes run in folders of their own, found {path!r}"
    yield from _version_problems(stated.get("python"))
    for key in _FOR_PYTHON:
        rows = stated.get(key, [])
        if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
            yield f"{KEY}.{key} should be a list of texts, found {rows!r:.80}"
    for key in _RAYS_PYTHON:
        if key in env:
            yield f"{key} is for Ray's Python, in which no stage runs beside {KEY}; put packages into {KEY}.packages"


def _version_problems(version: Any) -> Iterator[str]:
    if not isinstance(version, str):
        return
    least = ".".join(map(str, LEAST_PYTHON))
    if not _VERSION.fullmatch(version):
        yield f'{KEY}.python should be a version such as "3.11", found {version!r}'
    elif int(version.partition(".")[2]) < LEAST_PYTHON[1]:
        yield f"{KEY}.python is {version}, and GeoFlow needs Python {least} or newer"


def prepare(interpreter: Interpreter, env: str) -> FoundPython:
    """Return the interpreter on this node; GeoFlow's own is made if it is missing.

    `env` is the environment's name. Raises EnvironmentBroken that says what is missing and what to do.
    """
    if interpreter.python:
        return _usable(_made(interpreter, env), env)
    return _usable(Path(interpreter.path).expanduser() if interpreter.path else conda_python(interpreter.conda), env)


def lack(interpreter: Interpreter, env: str) -> str:
    """Return why this node cannot have the interpreter, in a sentence; "" if it can. Nothing is made."""
    try:
        if interpreter.python:
            find_python(interpreter.python)
        else:
            prepare(interpreter, env)
    except EnvironmentBroken as error:
        return str(error)
    return ""


def contents(interpreter: Interpreter) -> str | None:
    """Return a digest of the packages in the user's own interpreter; None if it is not on this machine, or GeoFlow's.

    GeoFlow's own is known by the packages that are stated.
    """
    if interpreter.python:
        return None
    try:
        python = Path(interpreter.path).expanduser() if interpreter.path else conda_python(interpreter.conda)
    except EnvironmentBroken:
        return None
    folders = python.parent.parent.glob("lib*/python3*/*-packages")
    found = kept.distributions(sorted(map(str, folders)))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:20] if found else None


def home_of(interpreter: Interpreter) -> Path:
    """Return the folder of an interpreter that GeoFlow makes; it may not exist yet. Raises EnvironmentBroken."""
    facts = [
        kept.FORM,
        interpreter.packages,
        interpreter.pip_install_options,
        *find_python(interpreter.python).identity,
    ]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return kept.folder() / key


def _made(interpreter: Interpreter, env: str) -> Path:
    base, packages = find_python(interpreter.python), ["numpy", *interpreter.packages]

    def make(home: Path, lock: int) -> None:
        pip = [str(home / PYTHON), "-m", "pip"]
        own = {"PYTHONPATH": "", "PIP_REQUIRE_VIRTUALENV": ""}  # what Ray's Python has there is not this one's
        virtualenv = [sys.executable, "-m", "virtualenv", "--quiet", "--no-download"]
        run([*virtualenv, "--python", base.executable, str(home)], lock)
        run([*pip, "install", *interpreter.pip_install_options, *packages], lock, own, home)

    try:
        return make_once(home_of(interpreter), make, packages, around=False)
    except RuntimeError as error:
        raise EnvironmentBroken(explain_failure(str(error), env, python=f"Python {interpreter.python}")) from error


def _usable(python: Path, env: str) -> FoundPython:
    found = ask(python)
    if found is None:
        raise EnvironmentBroken(
            f"environment {env!r}: {python} does not run as Python; correct {KEY}.path, or install it on every node"
        )
    version = ".".join(map(str, found.version))
    if found.version[:2] < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        raise EnvironmentBroken(f"environment {env!r}: {python} is Python {version}; GeoFlow needs {least} or newer")
    if not found.numpy:
        raise EnvironmentBroken(
            f"environment {env!r}: {python} has no numpy, which arrays come in; {python} -m pip install numpy"
        )
    return found
