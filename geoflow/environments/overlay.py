"""Environments of a Ray that GeoFlow started itself: laid over the installed packages, and kept for later runs.

Ray's own way with `pip` copies the surrounding virtual environment into each session: gigabytes, and up to a minute
before anything is installed. Here a new environment begins empty, and finds what it lacks in the surrounding one. On a
cluster that somebody else started, Ray builds environments in its own way.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from ray._private.runtime_env.plugin import RuntimeEnvPlugin

from geoflow.environments import kept, own_first
from geoflow.environments.making import PYTHON, make_once, run

FIELD = "overlay"  # the field of a runtime environment that replaces `pip`
PLUGIN = {"class": f"{__name__}.Overlay"}  # an entry of $RAY_RUNTIME_ENV_PLUGINS when nodes are started

_OWN_FIRST = "_geoflow_own_first"  # the copy of `own_first.py`; Python reads `.pth` files before any other code


class Overlay(RuntimeEnvPlugin):
    """Ray's plug-in for the field `overlay`, which holds what `pip` may hold; Ray's agent on each node calls it."""

    name = FIELD

    async def create(self, uri: str | None, runtime_env: Any, context: Any, logger: Any = None) -> float:
        """Make the environment and let the actor start in it. Raises RuntimeError with the installer's last lines."""
        variables = runtime_env.env_vars()
        python = await asyncio.to_thread(install, runtime_env[FIELD], variables)
        context.py_executable = shlex.quote(str(python))
        return 0


def instead_of_pip(env: dict[str, Any]) -> dict[str, Any]:
    """Return an environment with `overlay` in place of `pip`."""
    wanted = env.get("pip")
    if wanted is None:
        return env
    rest = {key: value for key, value in env.items() if key != "pip"}
    return {**rest, FIELD: _in_full(wanted)}


def install(wanted: dict[str, Any], variables: dict[str, str]) -> Path:
    """Return the Python of the environment that has these packages; make the environment if it is missing.

    `wanted` is a mapping as in Ray's `pip`; `variables` are set while pip runs. Raises RuntimeError with the last lines
    of the command that failed.
    """

    def make(home: Path, lock: int) -> None:
        pip = [str(home / PYTHON), "-m", "pip"]
        run([sys.executable, "-m", "virtualenv", "--quiet", "--no-download", str(home)], lock)
        _borrow(home)
        run([*pip, "install", *wanted["options"], *wanted["packages"]], lock, variables, home)
        if wanted["check"]:
            run([*pip, "check"], lock, variables, home)

    return make_once(kept.folder() / key(wanted), make, wanted["packages"])


def _in_full(wanted: Any) -> dict[str, Any]:
    """Return all options of `pip`, in whichever of Ray's forms they are written: packages, options, `pip check`."""
    if isinstance(wanted, str):
        return _in_full(["-r", os.path.abspath(wanted)])
    if isinstance(wanted, list):
        return _in_full({"packages": wanted})
    packages = wanted.get("packages") or []
    return {
        "packages": ["-r", os.path.abspath(packages)] if isinstance(packages, str) else list(packages),
        "options": list(wanted.get("pip_install_options", ["--disable-pip-version-check"])),
        "check": bool(wanted.get("pip_check", False)),
    }


def key(wanted: dict[str, Any]) -> str:
    """Return a key that changes with the packages to install, and with those of the surrounding environment."""
    files = [Path(row).read_text() for before, row in zip(wanted["packages"], wanted["packages"][1:]) if before == "-r"]
    known = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))  # pip sees these packages, too
    there = kept.distributions([*kept.installed_packages(), *known])
    facts = [kept.FORM, wanted, files, sys.prefix, sys.version, there]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _borrow(home: Path) -> None:
    """Let an environment find the packages of the surrounding Python; its own packages come first."""
    (inside,) = home.glob("lib/python*/site-packages")
    shutil.copyfile(own_first.__file__, inside / f"{_OWN_FIRST}.py")
    # The environment is moved to its final place later.
    lines = [f"import os, {_OWN_FIRST} as own; own.keep_first(os.path.dirname(own.__file__))"]
    lines += [f"import site; site.addsitedir({folder!r})" for folder in kept.installed_packages()]
    (inside / kept.BORROWED).write_text("\n".join([*lines, ""]))
