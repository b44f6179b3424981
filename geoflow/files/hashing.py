"""SHA-256 of what sources hold: of a file, and of a folder of pictures."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence


def file_sha256(path: str) -> str:
    """SHA-256 of a file's content, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def add_picture(digest: hashlib._Hash, path: str, data: bytes) -> None:
    """Have a picture count for the SHA-256 of its folder: its name, and all of its file."""
    name = os.fsencode(os.path.basename(path))
    digest.update(b"%d:%s:%d:" % (len(name), name, len(data)))
    digest.update(data)


def pictures_sha256(paths: Sequence[str]) -> str:
    """SHA-256 of a frame folder with these pictures. Raises OSError."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            add_picture(digest, path, file.read())
    return digest.hexdigest()
