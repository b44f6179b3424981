"""Libraries that only some formats need, in the extra `export`."""

from __future__ import annotations

import importlib
from typing import Any

from geoflow.errors import ConfigError


def library(name: str, to: str) -> Any:
    """Import a library of the extra. Raises ConfigError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f'--to {to} needs {name}, which cannot be imported ({error}); pip install "geoflow-video[export]"'
        ) from error
