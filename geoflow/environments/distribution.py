"""What the installed distribution says of itself."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Any

NAME = "geoflow-video"


@dataclass(frozen=True)
class Demands:
    """What the core needs: a specifier for Python's version, and requirements as `packaging` has them."""

    python: str
    packages: tuple[Any, ...]


def demands() -> Demands | None:
    """What the core needs on this machine, without any extra; None of a checkout that is not installed."""
    from packaging.requirements import Requirement

    try:
        about = importlib.metadata.metadata(NAME)
    except importlib.metadata.PackageNotFoundError:
        return None
    rows = [Requirement(text) for text in about.get_all("Requires-Dist") or []]
    wanted = (row for row in rows if row.marker is None or row.marker.evaluate({"extra": ""}))
    return Demands("".join(about.get_all("Requires-Python") or []), tuple(wanted))
