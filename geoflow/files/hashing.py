"""SHA-256 of files, worked out once as long as a file does not change."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

_READ = 16 << 20  # bytes at a time


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits. Raises OSError."""
    found = os.stat(path)
    return _of_content(str(path), found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _of_content(path: str, size: int, modified: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_READ):
            digest.update(block)
    return digest.hexdigest()
