"""Packages that only some work needs, and that `geoflow-reader` therefore leaves to its user."""

from __future__ import annotations

import importlib
from typing import Any

from geoflow.errors import ConfigError


def package(module: str, name: str, what: str) -> Any:
    """Import a module of the package `name`, which `what` needs. Raises ConfigError that says how to install it.

    >>> package("json", "json", "this example").dumps([1])
    '[1]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{what} needs {name}, which cannot be imported ({error}); pip install {name}") from error
