"""Conversion of values that a user passes in Python: NumPy's numbers, paths and tuples become plain values here.

All other code may rely on None, bool, int, float, str, list and dict: the types of JSON, which YAML files hold.
"""

from __future__ import annotations

import decimal
import math
import numbers
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from geoflow.errors import ConfigError


def plain(value: Any, name: str) -> Any:
    """Convert to plain values. Raises ConfigError, which names the option `name`, if that is impossible."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, (numbers.Real, decimal.Decimal)):
        return float(value)
    if isinstance(value, Mapping):
        return {_key(key, name): plain(row, f"{name}.{key}") for key, row in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [plain(row, name) for row in value]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufU":
        return plain(value.tolist(), name)
    if not isinstance(value, (np.ndarray, np.generic)) and hasattr(value, "__array__"):  # a tensor, a column of a table
        return plain(np.asarray(value), name)
    raise ConfigError(
        f"{name} should be a number, a text, a path, or a list or mapping of these; found {type(value).__name__} "
        f"{value!r:.60}"
    )


def _key(key: Any, name: str) -> str:
    if not isinstance(key, str):
        raise ConfigError(f"{name} should have texts as keys, found {key!r}")
    return str.__str__(key)


def real(value: Any, name: str) -> float:
    """Return a finite number. Raises ConfigError, as do all functions below."""
    found = plain(value, name)
    found = _only(found)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        raise ConfigError(f"{name} should be a finite number, found {value!r}")
    return float(found)


def whole(value: Any, name: str) -> int:
    """Return an integer, also if it is written as 5.0."""
    found = real(value, name)
    if found != int(found):
        raise ConfigError(f"{name} should be a whole number, found {value!r}")
    return int(found)


def text(value: Any, name: str) -> str:
    """Return a text or a path that is not empty."""
    found = plain(os.fsdecode(value) if isinstance(value, bytes) else value, name)
    if not isinstance(found, str) or not found or "\0" in found:
        raise ConfigError(f"{name} should be a path or a text that is not empty, found {value!r}")
    return found


def flag(value: Any, name: str) -> bool:
    found = _only(plain(value, name))
    if not isinstance(found, bool):
        raise ConfigError(f"{name} should be True or False, found {value!r}")
    return found


def several(value: Any, name: str) -> list[Any]:
    """Return a list of any values; a mapping or a single value is not a list."""
    found = plain(value, name)
    if not isinstance(found, list):
        raise ConfigError(f"{name} should be a list of values, found {value!r}")
    return found


def _only(found: Any) -> Any:
    """Return the value of an array that holds exactly one."""
    while isinstance(found, list) and len(found) == 1:
        found = found[0]
    return found


def printable(path: str) -> str:
    """Return a path as text for any format: bytes of the name that are not UTF-8 are written as escapes."""
    return path.encode("utf-8", "backslashreplace").decode()
