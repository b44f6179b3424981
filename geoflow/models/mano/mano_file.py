"""The user's MANO_RIGHT.pkl, read without chumpy, without scipy, and without running anything that it names.

The file is a pickle of Python 2. One of its arrays is an object of chumpy, another a sparse matrix of scipy. Both
become inert stand-ins, from which the numbers are taken. A pickle that names anything else is refused.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.errors import ConfigError
from geoflow.models.inert_pickle import Inert
from geoflow.models.mano.body import NEEDED, HandBody

NAME = "MANO_RIGHT.pkl"
WHERE_TO_GET = (
    "register at https://mano.is.tue.mpg.de, download the models (mano_v*_*.zip), and take models/MANO_RIGHT.pkl out "
    "of the archive"
)
_PLAIN = {"dict", "list", "tuple", "set", "frozenset", "int", "long", "float", "complex", "bool", "str", "unicode"}
_NUMPY = re.compile(r"numpy(\.core|\._core)?\.(multiarray|numeric)|numpy")
# Classes whose objects become stand-ins. In scipy, the module's name depends on the version.
_STAND_INS = re.compile(r"chumpy\.[\w.]+|scipy\.sparse\.[\w.]*(csc|csr|coo)_(matrix|array)|weakref\.WeakKeyDictionary")


def load_body(path: Path | str) -> HandBody:
    """Return the hand model of a MANO_RIGHT.pkl, or of an .npz file with the same arrays.

    Raises ConfigError that names the file if it is absent, is not such a file, or names something that has no place in
    it; then nothing of it was loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file; {WHERE_TO_GET}")
    if "LEFT" in path.name.upper():
        raise ConfigError(f"{path} is the model of the left hand by its name; {NAME} serves both hands")
    return HandBody.from_arrays(_read(path), str(path))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        with path.open("rb") as file:
            held = _Unpickler(file, encoding="latin1").load()
    except _Refused as error:
        raise ConfigError(
            f"{path} names {error}, which has no place in a MANO file; nothing of it was loaded; {WHERE_TO_GET}"
        ) from None
    except Exception as error:  # pickle's own are many
        raise ConfigError(f"{path} cannot be read as a MANO file ({error}); {WHERE_TO_GET}") from error
    if not isinstance(held, dict):
        raise ConfigError(f"{path} should hold named arrays, found {type(held).__name__}; {WHERE_TO_GET}")
    return {name: _dense(held[name], f"{path}: {name}") for name in NEEDED if name in held}


class _Refused(Exception):
    """A name that the list does not allow."""


class _Unpickler(pickle.Unpickler):
    """Rebuilds plain values and arrays; whatever else a MANO file may name becomes Inert."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if module in ("builtins", "__builtin__") and name in _PLAIN:
            modern = {"long": "int", "unicode": "str"}.get(name, name)
            return super().find_class("builtins", modern)
        if module in ("builtins", "__builtin__") and name == "object":
            return Inert
        if _NUMPY.fullmatch(module) and name in _ARRAYS:
            return _ARRAYS[name]
        if full in _FUNCTIONS:
            return _FUNCTIONS[full]
        if _STAND_INS.fullmatch(full):
            return type("Inert", (Inert,), {"name": full})
        raise _Refused(full)


def _empty_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """Stand for numpy's own `_reconstruct`; the array's state follows in the pickle."""
    if kind is not np.ndarray:
        raise _Refused(getattr(kind, "__name__", repr(kind)))
    return np.ndarray.__new__(np.ndarray, (0,), np.uint8)


def _made(kind: Any, base: Any, state: Any) -> Any:
    """Stand for copyreg's `_reconstructor`, by which pickles of the first protocols make objects."""
    if not (isinstance(kind, type) and issubclass(kind, Inert)):
        raise _Refused(getattr(kind, "__name__", repr(kind)))
    return kind.__new__(kind)


def _bytes_of(text: str, encoding: str = "latin1") -> bytes:
    """Stand for the codec by which Python 3 writes bytes into pickles that Python 2 can read."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"the codec {encoding}")
    return text.encode("latin1")


def _scalar(dtype: np.dtype, content: bytes | str = b"") -> Any:
    raw = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(raw, dtype)[0]


_ARRAYS: dict[str, Any] = {
    "_reconstruct": _empty_array,
    "ndarray": np.ndarray,
    "dtype": np.dtype,
    "scalar": _scalar,
}
_FUNCTIONS: dict[str, Any] = {
    "_codecs.encode": _bytes_of,
    "copy_reg._reconstructor": _made,
    "copyreg._reconstructor": _made,
}


def _dense(value: Any, where: str) -> Any:
    """Return the numbers that a stand-in holds; other values as they are. Raises ConfigError for other stand-ins."""
    if not isinstance(value, Inert):
        return value
    held = value.state if isinstance(value.state, dict) else {}
    kind = value.name.rpartition(".")[2]
    if value.name.startswith("scipy.sparse."):
        return _from_sparse(kind, held, where)
    if kind == "Select" and {"a", "idxs", "preferred_shape"} <= held.keys():
        flat = np.asarray(_dense(held["a"], where)).ravel()
        return flat[np.asarray(held["idxs"])].reshape(held["preferred_shape"])
    if kind == "Ch" and "x" in held:
        return _dense(held["x"], where)
    raise ConfigError(f"{where} is an object of {value.name} in a form that is not known; {WHERE_TO_GET}")


def _from_sparse(kind: str, held: Mapping[str, Any], where: str) -> np.ndarray:
    """Return the matrix (rows, columns) of scipy's compressed columns, compressed rows or coordinates."""
    try:
        full = np.zeros(held.get("_shape", held.get("shape")), np.float64)
        if kind.startswith("coo"):
            places = held["coords"] if "coords" in held else (held["row"], held["col"])
        else:
            major = np.repeat(np.arange(len(held["indptr"]) - 1), np.diff(held["indptr"]))
            places = (held["indices"], major) if kind.startswith("csc") else (major, held["indices"])
        np.add.at(full, tuple(places), held["data"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ConfigError(
            f"{where} is a sparse matrix in a form that is not known ({error}); {WHERE_TO_GET}"
        ) from error
    return full
