"""Files of unfinished work: a stage's fields on a segment, an ordered stage's state. Uncompressed numpy, no pickle.

Each file is a zip of .npy files, so it holds a shape and a checksum for every array. It gets its final name when it is
complete. It is not synced to the disk, so it may be damaged after a power cut. Damage is detected when the file is
read, and then the work is done again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoflow.errors import StoreError

# Saved work must not take the last space from the results themselves.
_RESERVED_BYTES = 512 << 20
_META = "meta"  # the member with plain values; names of arrays have a prefix, so no array can have this name
_ARRAY = "array."


class DamagedWork(StoreError):
    """A file of unfinished work that is damaged or missing."""


@dataclass(frozen=True)
class SaveTo:
    """The paths to which a call saves its results; None: not saved."""

    fields: str | None
    state: str | None


@dataclass(frozen=True)
class SavedState:
    """A reference to an ordered stage's state on disk; the worker reads it."""

    path: str


def save(path: str, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> int:
    """Write arrays and plain (JSON) values; return the bytes of the arrays.

    Raises OSError if the disk cannot be written or is nearly full, TypeError for values that JSON cannot hold.
    """
    size = sum(array.nbytes for array in arrays.values())
    text = np.frombuffer(json.dumps(dict(meta)).encode(), np.uint8)
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < size + _RESERVED_BYTES:
        raise OSError(f"only {free / 2**20:,.0f} MiB free in {folder}")
    draft = f"{path}.{os.getpid()}.part"  # two workers may do the same work if one was wrongly taken for dead
    try:
        with open(draft, "wb") as file:
            np.savez(file, **{_META: text, **{_ARRAY + name: array for name, array in arrays.items()}})  # type: ignore[arg-type]
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise
    return size


def load(path: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the saved arrays and plain values. Raises DamagedWork."""
    try:
        with np.load(path, allow_pickle=False) as file:
            meta = json.loads(file[_META].tobytes())
            return {name.removeprefix(_ARRAY): file[name] for name in file.files if name != _META}, meta
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedWork(f"{path} cannot be used: {error}") from error


def looks_whole(path: str | os.PathLike[str]) -> bool:
    """Return whether a file exists and is as long as its zip directory says. Checksums are checked when it is read."""
    try:
        with zipfile.ZipFile(path) as file:
            return _META + ".npy" in file.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def save_state(path: str, state: Mapping[str, Any]) -> int:
    """Save an ordered stage's state: arrays and plain values. Raises as `save` does."""
    arrays = {name: np.asarray(value) for name, value in state.items() if hasattr(value, "dtype")}
    return save(path, arrays, {name: value for name, value in state.items() if name not in arrays})


def load_state(path: str) -> dict[str, Any]:
    """Return a state that `save_state` saved. Raises DamagedWork."""
    arrays, meta = load(path)
    return {**meta, **arrays}
