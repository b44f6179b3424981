"""Whether this is a notebook, and the libraries that only notebooks need."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from geoflow.errors import ConfigError


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code, so that pictures and HTML reach somebody."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return getattr(shell, "kernel", None) is not None


def library(name: str, what: str) -> Any:
    """Import a library of the extra. Raises ConfigError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        root = name.partition(".")[0]
        raise ConfigError(
            f'{what} needs {root}, which cannot be imported ({error}); pip install "geoflow-video[notebook]"'
        ) from error
