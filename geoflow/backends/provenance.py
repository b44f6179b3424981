"""Provenance: what a stage's results depend on besides its parameters' values: its code, and files that they name."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from geoflow.files import resources
from geoflow.files.hashing import sha256_of
from geoflow.stage import Stage

_LENGTH = 20  # hexadecimal digits


def code_digest(stage: type[Stage]) -> str | None:
    """Return the digest of the module that defines a stage, without comments, docstrings and layout.

    Return None for stages that are released with GeoFlow, where `Stage.version` says when results change, and if there
    is no source to read. Imported modules are not included: increase `version` when they change.
    """
    if _is_released(stage.__module__):
        return None
    path = getattr(sys.modules.get(stage.__module__), "__file__", None)
    try:
        return None if path is None else _of_source(path, *_state(path))
    except (OSError, ValueError, SyntaxError):
        return None


def file_digests(values: Any) -> dict[str, str]:
    """Return path -> digest of the content, for every file that a text among these values names.

    `values` are plain; mappings and lists are searched. A text counts as a name if it has a folder or a suffix, and if
    there is such a file on this machine.
    """
    found = {}
    for text in _texts(values):
        path = os.path.expanduser(text)
        if (os.sep in path or os.path.splitext(path)[1]) and "\0" not in path and os.path.isfile(path):
            found[text] = sha256_of(path)[:_LENGTH]
    return found


def folder_digests(folders: Iterable[str]) -> dict[str, str]:
    """Return folder -> digest of the names and contents of all files below it, without hidden files."""
    found = {}
    for folder in folders:
        root, digest = Path(folder).expanduser(), hashlib.sha256()
        for path in sorted(path for path in root.rglob("[!.]*") if path.is_file()):
            digest.update(f"{path.relative_to(root).as_posix()}\0{sha256_of(path)[:_LENGTH]}\n".encode())
        found[folder] = digest.hexdigest()[:_LENGTH]
    return found


def _is_released(module: str) -> bool:
    """Return whether a module is part of the library, or a backend of an installed wheel; not a backend of a checkout,
    which may be edited."""
    in_checkout = (resources.roots()[0] / "configs").is_dir()
    return module.startswith("geoflow.") or (module.startswith("actors.") and not in_checkout)


def _texts(values: Any) -> Iterator[str]:
    if isinstance(values, (str, os.PathLike)):
        yield str(values)
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _texts(value)
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _texts(value)


def _state(path: str | Path) -> tuple[int, int]:
    """Return (size, modification time) of a file, so that its digest is computed only once while these do not
    change."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=256)
def _of_source(path: str, size: int, modified: int) -> str:
    tree = ast.parse(Path(path).read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(node.body) > 1:
                node.body = node.body[1:]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:_LENGTH]
