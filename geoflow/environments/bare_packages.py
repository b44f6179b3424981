"""Packages of an environment that are installed without their dependencies: `without_dependencies` in its YAML.

Some models depend on user interfaces, on plotting, and on a build of OpenCV that overwrites the core's. pip can leave
dependencies out for a whole environment only, and torch needs its own. So these packages are installed once by the
driver, and reach the actors through the object store.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from geoflow.environments import interpreter
from geoflow.environments.environment import explain_failure
from geoflow.errors import EnvironmentBroken
from geoflow.files.resources import cache_folder

KEY = "without_dependencies"


def split(env: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Split an environment into the part that Ray takes and the packages that GeoFlow installs itself."""
    for_ray = {key: value for key, value in env.items() if key not in (KEY, interpreter.KEY)}
    return for_ray, [str(package) for package in env.get(KEY) or []]


def install(packages: list[str], name: str) -> Path:
    """Return the zip archive of packages in GeoFlow's cache; make it if it is missing.

    Raises EnvironmentBroken if environment `name` cannot have these packages.
    """
    key = hashlib.sha256(repr([*packages, sys.version_info[:2]]).encode()).hexdigest()[:16]
    archive = cache_folder() / "packages" / f"{key}.zip"
    if archive.is_file():
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        target, packed = Path(folder) / "packages", Path(folder) / "packages.zip"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
        done = subprocess.run([*command, "--target", str(target), *packages], capture_output=True, text=True)
        if done.returncode:
            raise EnvironmentBroken(explain_failure(done.stderr, name))
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted(target.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    file.write(path, path.relative_to(target))
        os.replace(packed, archive)
    return archive


def make_importable(archive: bytes) -> Path:
    """Put the packages of an archive first on this process's path, before all installed ones; return their folder.

    Raises ImportError that names the packages which this process has already loaded from elsewhere, such as numpy: for
    these the environment's file would have no effect.
    """
    home = unpack(archive)
    sys.path.insert(0, str(home))
    names = {path.stem for path in home.glob("*.py")} | {path.parent.name for path in home.glob("*/__init__.py")}
    if late := sorted(name for name in names & sys.modules.keys() if not _is_within(sys.modules[name], home)):
        raise ImportError(
            f"{', '.join(late)} cannot be listed under {KEY}: already loaded from elsewhere; list it under pip"
        )
    return home


def _is_within(module: Any, home: Path) -> bool:
    return Path(getattr(module, "__file__", None) or "").is_relative_to(home)


def unpack(archive: bytes) -> Path:
    """Return the folder of an archive's packages in this node's cache; some packages write into their own folder."""
    home = cache_folder() / "packages" / hashlib.sha256(archive).hexdigest()[:16]
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as folder:
            target = Path(folder) / "packages"
            with zipfile.ZipFile(io.BytesIO(archive)) as file:
                file.extractall(target)
            try:
                os.replace(target, home)
            except OSError:  # another actor was faster
                if not home.is_dir():
                    raise
    return home
