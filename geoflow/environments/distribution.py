"""What the installed distribution states: its version and its requirements."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Any

NAME = "geoflow-video"


@dataclass(frozen=True)
class Demands:
    """What the core needs: a specifier for Python's version, and requirements as `packaging` parses them."""

    python: str
    packages: tuple[Any, ...]


def demands() -> Demands | None:
    """Return what the core needs on this machine, without any extra; None for a checkout that is not installed."""
    from packaging.requirements import Requirement

    try:
        about = importlib.metadata.metadata(NAME)
    except importlib.metadata.PackageNotFoundError:
        return None
    rows = [Requirement(text) for text in about.get_all("Requires-Dist") or []]
    wanted = (row for row in rows if row.marker is None or row.marker.evaluate({"extra": ""}))
    return Demands("".join(about.get_all("Requires-Python") or []), tuple(wanted))


def library_version() -> str:
    """Return the version of GeoFlow; "unknown" for a checkout that is not installed."""
    try:
        return importlib.metadata.version(NAME)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
