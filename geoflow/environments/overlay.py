"""Environments of a Ray that GeoFlow started itself: laid over the installed packages, and kept for later runs.

Ray's own way with `pip` copies the surrounding virtual environment into each session: gigabytes, and up to a minute
before anything is installed. Here a new environment begins empty, and finds what it lacks in the surrounding one. On a
cluster that somebody else started, Ray builds environments in its own way.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ray._private.runtime_env.plugin import RuntimeEnvPlugin

from geoflow.environments import kept, own_first

FIELD = "overlay"  # the field of a runtime environment that replaces `pip`
PLUGIN = {"class": f"{__name__}.Overlay"}  # an entry of $RAY_RUNTIME_ENV_PLUGINS when nodes are started

_PYTHON = Path("bin", "python")
_OWN_FIRST = "_geoflow_own_first"  # the copy of `own_first.py`; Python reads `.pth` files before any other code
_LAST = 50  # lines of pip's output that an error keeps, as many as in Ray


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
    home = kept.folder() / key(wanted)
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # only one process on this machine makes this environment
        if not home.is_dir():
            _make(home.with_suffix(".new"), wanted, variables, lock.fileno())
            os.replace(home.with_suffix(".new"), home)
        kept.note(home, wanted["packages"])
    return home / _PYTHON


def _make(home: Path, wanted: dict[str, Any], variables: dict[str, str], lock: int) -> None:
    shutil.rmtree(home, ignore_errors=True)  # left by a process that was killed meanwhile
    pip = [str(home / _PYTHON), "-m", "pip"]
    try:
        _run([sys.executable, "-m", "virtualenv", "--quiet", "--no-download", str(home)], lock)
        _borrow(home)
        _run([*pip, "install", *wanted["options"], *wanted["packages"]], lock, variables, home)
        if wanted["check"]:
            _run([*pip, "check"], lock, variables, home)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


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


def _run(command: list[str], lock: int, variables: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    """Run a command, which holds the lock, too: if this process is killed, others wait until the command has ended."""
    done = subprocess.run(
        command,
        env=os.environ | (variables or {}),
        cwd=cwd,
        pass_fds=[lock],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-_LAST:])
        raise RuntimeError(f"{' '.join(command[1:4])} failed with exit status {done.returncode}:\n{last}")
