"""Keeping an environment's own packages before all others on `sys.path`.

What the environment pins must win, whoever else puts folders on the path: $PYTHONPATH of the user, Ray's workers (the
folders of the driver's script and of its work), a notebook. The environments of `overlay.py` carry a copy of this file
and start it by a `.pth` of theirs, before anything else is imported. So it needs nothing but the standard library.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any


class OwnFirst:
    """A finder that finds nothing: before each search for a top-level module it puts the path in order.

    An order settled once would not last: Ray's workers put folders in front when their first call comes.
    """

    def __init__(self, own: str) -> None:
        library = os.path.dirname(os.__file__)
        archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
        # The standard library stays in front: packages on the index carry names of it, for Pythons that lacked them.
        standard = {os.path.join(os.path.dirname(library), archive), library, os.path.join(library, "lib-dynload")}
        self._first = [*(folder for folder in sys.path if folder in standard), own]

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        if path is None and sys.path[: len(self._first)] != self._first:
            sys.path[:] = [*self._first, *(folder for folder in sys.path if folder not in self._first)]

    def invalidate_caches(self) -> None:
        """The import system calls this of every finder; there is nothing kept here."""


def keep_first(own: str) -> None:
    """Have the packages in folder `own` found before all others in this process, whatever comes onto the path."""
    sys.meta_path.insert(0, OwnFirst(own))
