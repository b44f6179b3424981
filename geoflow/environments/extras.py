"""Libraries that only parts of GeoFlow need; each belongs to an extra of the distribution."""

from __future__ import annotations

import importlib
from typing import Any

from geoflow.errors import ConfigError


def library(name: str, extra: str, what: str) -> Any:
    """Import a library of an extra, which `what` needs. Raises ConfigError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        needed = name.partition(".")[0]
        raise ConfigError(
            f'{what} needs {needed}, which cannot be imported ({error}); pip install "geoflow-video[{extra}]"'
        ) from error
