"""Checks that a file of weights is complete, by its format and its SHA-256. No file is unpickled."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from geoflow.files.hashing import sha256_of

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pkl", ".npz", ".npy", ".onnx")
_TORCH = (".pt", ".pth", ".ckpt")  # a zip archive, or a pickle as torch wrote before version 1.6
_PICKLE = b"\x80"  # the first byte of every pickle of protocol 2 and later


def weights_in(folder: Path) -> Iterator[Path]:
    """Return the files below a folder that look like weights."""
    return (path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())


def fault(path: Path, digest: str | None, *, deep: bool) -> str:
    """Return what is wrong with a file; "" if nothing is wrong.

    A file must be complete as far as its format shows. With `deep`, its SHA-256 must be `digest`, or the file's name in
    the hub's cache.
    """
    size = path.stat().st_size
    if path.suffix == ".safetensors" and (torn := _torn_safetensors(path)):
        return torn
    if path.suffix in _TORCH and not (zipfile.is_zipfile(path) or _begins_as_pickle(path)):
        return f"{size} bytes that are not a checkpoint of torch, or only a part of one"
    if path.suffix == ".npz" and not zipfile.is_zipfile(path):
        return f"{size} bytes that are not an .npz file, or only a part of one"
    if not size:
        return "it is empty"
    if deep and (expected := digest or _name_in_cache(path)) and (found := sha256_of(path)) != expected:
        return f"its SHA-256 is {found[:12]}…, expected {expected[:12]}…"
    return ""


def _begins_as_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) == _PICKLE


def _torn_safetensors(path: Path) -> str:
    """Return what is wrong with a safetensors file; its header gives the file's length."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= size - 8:
            return f"{size} bytes that are not a safetensors file, or only a part of one"
        try:
            header = json.loads(file.read(length))
            ends = [row["data_offsets"][1] for name, row in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return "its header is not a safetensors header"
    wanted = 8 + length + max(ends, default=0)
    return "" if size == wanted else f"{size} bytes, but its header states {wanted}"


def _name_in_cache(path: Path) -> str | None:
    """Return the SHA-256 that a file of the hub's cache has as its name; None for other files."""
    name = path.resolve().name
    return name if len(name) == 64 and path.is_symlink() else None
