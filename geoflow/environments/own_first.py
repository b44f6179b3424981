"""A rule for `sys.path`: an environment's own packages come before all others.

What the environment pins must win, whatever else puts folders on the path: the user's $PYTHONPATH, Ray's workers (the
folders of the driver's script and of its work), a notebook. The environments of `overlay.py` carry a copy of this file
and start it from a `.pth` file before anything else is imported. So it needs only the standard library.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any


class OwnFirst:
    """An import finder that finds nothing itself: before each search for a top-level module it puts the path in order.

    An order set once would not last: Ray's workers put folders in front when their first call comes.
    """

    def __init__(self, own: str) -> None:
        library = os.path.dirname(os.__file__)
        archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
        # The standard library stays in front: some packages of the index have its names, for Pythons that lacked them.
        standard = {os.path.join(os.path.dirname(library), archive), library, os.path.join(library, "lib-dynload")}
        self._first = [*(folder for folder in sys.path if folder in standard), own]

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        if path is None and sys.path[: len(self._first)] != self._first:
            sys.path[:] = [*self._first, *(folder for folder in sys.path if folder not in self._first)]

    def invalidate_caches(self) -> None:
        """Do nothing: the import system calls this for every finder, and this finder keeps nothing."""


def keep_first(own: str) -> None:
    """Let this process find the packages in folder `own` before all others, whatever is added to the path."""
    sys.meta_path.insert(0, OwnFirst(own))
