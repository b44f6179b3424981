"""The place of `configs/` and `runtime_envs/`: in a checkout beside the package, in a wheel inside it."""

from __future__ import annotations

import os
from pathlib import Path

from geoflow.errors import ConfigError

_PACKAGE = Path(__file__).parents[1]


def roots() -> list[Path]:
    """Return the folders that may hold `configs/` and `runtime_envs/`, a checkout's first."""
    return [_PACKAGE.parent, _PACKAGE / "data"]


def folder(kind: str) -> Path:
    """Return the folder `kind`, such as `configs/pipelines`. Raises ConfigError if the installation lacks it."""
    for root in roots():
        if (root / kind).is_dir():
            return root / kind
    raise ConfigError(f"this installation has no {kind}/ folder; reinstall geoflow-video")


def cache_folder() -> Path:
    """Return the folder that GeoFlow keeps from run to run.

    It is $GEOFLOW_CACHE, or $XDG_CACHE_HOME/geoflow, by default ~/.cache/geoflow.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geoflow"
    return Path(os.environ.get("GEOFLOW_CACHE") or default)


def find_yaml(kind: str, name: str) -> Path:
    """Return the file for `name`: a path as it is, else `<kind>/<name>.yaml`.

    Raises ConfigError that lists the existing names.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        if os.path.isfile(name):
            return Path(name)
        raise ConfigError(f"no such file: {name}")
    home = folder(kind)
    path = home / f"{name}.yaml"
    if os.path.isfile(path):  # unlike Path.is_file, it returns False for a name that is too long
        return path
    known = ", ".join(sorted(p.stem for p in home.glob("*.yaml"))) or "none"
    raise ConfigError(f"no {name!r} in {kind}; there are: {known}")
