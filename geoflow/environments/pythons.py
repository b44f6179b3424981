"""The Pythons of this machine: found by version or by the name of a conda environment, and asked what they are."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geoflow.errors import EnvironmentBroken

_WITHIN_S = 60.0  # a first start from a network disk is slow
_MARK = "geoflow-python "  # begins the answer: an interpreter may print more when it starts
_QUESTION = f"""
import json, sys
try:
    from importlib.metadata import version
    numpy = version("numpy")
except Exception:
    numpy = ""
print("\\n{_MARK}" + json.dumps([list(sys.version_info[:3]), numpy, sys.prefix, sys.version]))
"""
_CONDA_BASES = ("miniconda3", "miniforge3", "mambaforge", "anaconda3", "micromamba")


@dataclass(frozen=True)
class FoundPython:
    """An interpreter that has answered."""

    executable: str
    version: tuple[int, int, int]
    numpy: str  # version; "" if it has none
    prefix: str
    build: str  # as `sys.version`

    @property
    def identity(self) -> tuple[str, str]:
        return self.executable, self.build


def ask(python: Path) -> FoundPython | None:
    """Return what an interpreter says of itself; None if it does not run."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(
            [str(python), "-c", _QUESTION], env=variables, capture_output=True, text=True, timeout=_WITHIN_S
        )
        (row,) = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
        version, numpy, prefix, build = json.loads(row.removeprefix(_MARK))
        return FoundPython(str(python), (version[0], version[1], version[2]), numpy, prefix, build)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def find_python(version: str) -> FoundPython:
    """Return an interpreter of this version, such as 3.11. Raises EnvironmentBroken if this machine has none."""
    asked = set()
    for path in _candidates(version):
        if str(path) in asked or not os.access(path, os.X_OK):
            continue
        asked.add(str(path))
        found = ask(path)
        if found is not None and ".".join(map(str, found.version[:2])) == version:
            return found
    raise EnvironmentBroken(
        f"this machine has no Python {version}; install it on every node, for instance with `uv python install "
        f"{version}` or `pyenv install {version}`, or state the path of one"
    )


def _candidates(version: str) -> Iterator[Path]:
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield Path(getattr(sys, "_base_executable", "") or sys.executable)
    name = f"python{version}"
    yield from (Path(folder, name) for folder in os.get_exec_path())
    yield from (Path(folder, name) for folder in ("/usr/bin", "/usr/local/bin"))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local" / "share" / "uv" / "python")
    for home, pattern in ((pyenv, f"{version}.*"), (uv, f"cpython-{version}.*")):
        with contextlib.suppress(OSError):
            yield from (path / "bin" / name for path in sorted(home.glob(pattern), reverse=True))


def conda_python(environment: str) -> Path:
    """Return the Python of a conda environment, given by name or folder; conda itself need not be installed.

    Raises EnvironmentBroken if this machine has no such environment.
    """
    places = [Path(environment).expanduser()] if os.sep in environment else list(_conda_places(environment))
    for place in places:
        if (python := place / "bin" / "python").is_file():
            return python
    raise EnvironmentBroken(
        f"this machine has no conda environment {environment!r}: it is not in conda's list nor in its usual folders; "
        "make it on every node, or state its folder"
    )


def _conda_places(name: str) -> Iterator[Path]:
    """Yield where an environment of this name may be: conda's own list of all, its settings, its usual folders."""
    with contextlib.suppress(OSError):
        listed = (Path.home() / ".conda" / "environments.txt").read_text().split("\n")
        yield from (Path(row) for row in listed if row and Path(row).name == name)
    folders = [Path(row) for row in os.environ.get("CONDA_ENVS_PATH", "").split(os.pathsep) if row]
    bases = [Path.home() / base for base in _CONDA_BASES] + [Path("/opt", base) for base in ("conda", *_CONDA_BASES)]
    if root := os.environ.get("MAMBA_ROOT_PREFIX"):
        bases.insert(0, Path(root))
    if executable := os.environ.get("CONDA_EXE"):
        bases.insert(0, Path(executable).parent.parent)
    yield from (folder / name for folder in [*folders, *(base / "envs" for base in bases), Path.home() / ".conda/envs"])
