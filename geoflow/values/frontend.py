"""A check whether this code runs in a notebook."""

from __future__ import annotations

import sys


def in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this code, so that pictures and HTML can be seen."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return getattr(shell, "kernel", None) is not None
