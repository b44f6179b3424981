"""Whether this is a notebook."""

from __future__ import annotations

import sys


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code, so that pictures and HTML reach somebody."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return getattr(shell, "kernel", None) is not None
