"""Environments that `overlay` keeps from run to run: where they lie, and what each of them is.

An environment is a folder, KEY. Who makes or removes it holds KEY.lock, whose time is that of the last use. KEY.json is
a note.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import site
import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from geoflow.files.resources import cache_folder

FORM = 2  # version of the environments' layout; those of an earlier form are not used
BORROWED = "borrowed.pth"  # lists the folders of the surrounding Python's packages
_BORROWS = re.compile(r"import site; site\.addsitedir\('(.+)'\)")


@dataclass(frozen=True)
class Note:
    """What an environment is, as of its last use."""

    packages: Sequence[str]
    around: str  # prefix of the Python that it borrows from; "" if it borrows nothing
    surroundings: str  # of that Python; see `surroundings`
    host: str


def folder() -> Path:
    """Return the folder that holds the environments."""
    return cache_folder() / "environments"


def note(home: Path, packages: Sequence[str], *, around: bool = True) -> None:
    """Note that this machine uses an environment now. Nothing happens if the disk is full.

    `around`: it borrows packages from the Python around it.
    """
    borrows = (sys.prefix, surroundings()) if around else ("", "")
    row = Note(packages, *borrows, socket.gethostname())
    draft = home.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        os.utime(home.with_suffix(".lock"))
        draft.write_text(json.dumps(asdict(row)))
        os.replace(draft, home.with_suffix(".json"))


def read_note(home: Path) -> Note | None:
    """Return the note on an environment; None if an earlier version made it."""
    try:
        return Note(**json.loads(home.with_suffix(".json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def last_used(home: Path) -> float:
    """Return when an environment was used last, in seconds since 1970; 0 if that is not known."""
    try:
        return home.with_suffix(".lock").stat().st_mtime
    except OSError:
        return 0.0


def borrows_from(home: Path) -> list[str]:
    """Return the folders of packages that an environment borrows; [] if that is not known."""
    with contextlib.suppress(OSError):
        lines = [line for path in home.glob(f"lib/python*/site-packages/{BORROWED}") for line in path.open()]
        return [match[1] for line in lines if (match := _BORROWS.match(line))]
    return []


def installed_packages() -> list[str]:
    """Return the folders in which this Python has its packages."""
    own = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [folder for folder in [*own, *site.getsitepackages()] if os.path.isdir(folder)]


def distributions(folders: Iterable[str]) -> list[list[str]]:
    """Return the names and versions of the distributions in folders of packages."""
    found = [sorted(path.name for path in Path(folder).glob("*.dist-info")) for folder in folders]
    return [names for names in found if names]


def surroundings() -> str:
    """Return a digest of the packages around new environments; it leaves out those of $PYTHONPATH."""
    facts = [FORM, sys.prefix, sys.version, distributions(installed_packages())]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
