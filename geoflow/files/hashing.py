"""SHA-256 of files and of folders of pictures."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

_READ = 1 << 20  # bytes at a time


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, read in pieces. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_READ):
            digest.update(piece)
    return digest.hexdigest()


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, worked out again only after the file has changed. Raises OSError."""
    found = os.stat(path)
    return _of_content(str(path), found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _of_content(path: str, size: int, modified: int) -> str:
    return file_sha256(path)


def add_picture(digest: hashlib._Hash, path: str, data: bytes) -> None:
    """Add a picture to the SHA-256 of its folder: its name, and its whole file."""
    name = os.fsencode(os.path.basename(path))
    digest.update(b"%d:%s:%d:" % (len(name), name, len(data)))
    digest.update(data)


def pictures_sha256(paths: Sequence[str]) -> str:
    """Return the SHA-256 of a frame folder with these pictures. Raises OSError."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            add_picture(digest, path, file.read())
    return digest.hexdigest()
