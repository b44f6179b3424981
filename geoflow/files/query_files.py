"""Queries: points that the user wants tracked, each from a frame of the video.

A .csv or .npy file holds a row for each point, either `frame, x, y` in pixels or `frame, x, y, z` in world units:

    frame,x,y
    0,120.5,88
    12,40,61.25

A .csv may name its columns in a first line, in any order; without one, the order is as above. It may use semicolons or
tabs, and lines that begin with # are left out. A .npy is an array (N, 3) or (N, 4) of numbers. Frames count in the
source, from 0. Pixels are those of the upright picture that players show, whose top-left pixel has its centre at
(0, 0). The world is that of the store: the axes and units of its camera poses.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoflow.errors import ConfigError

_PIXELS = ("frame", "x", "y")
_WORLD = ("frame", "x", "y", "z")
_FORM = "rows of frame, x, y in pixels, or of frame, x, y, z in world units"
_MOST_FRAME = 2**53  # above, a float64 does not hold every whole number
_FIRST_EDGE = -0.5  # px: the left and upper edge of the first pixel


@dataclass(frozen=True)
class Queries:
    """N points of one kind: either `uv` or `xyz` is there."""

    frame: np.ndarray  # (N,) int64, frames of the source
    uv: np.ndarray | None  # (N, 2) float32 px
    xyz: np.ndarray | None  # (N, 3) float32 world, scene units

    def __len__(self) -> int:
        return len(self.frame)


def read_queries(path: str | Path) -> Queries:
    """Read the queries of a .csv or .npy file. Raises ConfigError that names the file, the row and the remedy."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".npy"):
        raise ConfigError(f"queries {path} should be a .csv or .npy file with {_FORM}")
    if not path.is_file():
        raise ConfigError(f"there is no file of queries at {path}; give one with {_FORM}")
    rows, places = _npy_rows(path) if path.suffix.lower() == ".npy" else _csv_rows(path)
    if not len(rows):
        raise ConfigError(f"queries {path} holds no row; give it {_FORM}, or leave the queries out")
    _check_values(path, rows, places)
    frame = rows[:, 0].astype(np.int64)
    if rows.shape[1] == len(_WORLD):
        return Queries(frame, None, rows[:, 1:].astype(np.float32))
    return Queries(frame, rows[:, 1:].astype(np.float32), None)


def _check_values(path: Path, rows: np.ndarray, places: Sequence[str]) -> None:
    """Raise ConfigError for the first row (N, 3 or 4) float64 that no query can be; `places` name the rows."""
    in_float32 = np.abs(rows) <= np.finfo(np.float32).max  # False for NaN
    frame = rows[:, 0]
    flaws = {
        "every value should be a finite number": ~in_float32.all(1),
        "the frame should be a whole number from 0 on": (frame < 0)
        | (frame != np.floor(frame))
        | (frame > _MOST_FRAME),
    }
    if rows.shape[1] == len(_PIXELS):
        flaws["the pixel lies left of the picture, or above it"] = (rows[:, 1:] < _FIRST_EDGE).any(1)
    for said, wrong in flaws.items():
        if wrong.any():
            k = int(np.argmax(wrong))
            raise ConfigError(
                f"queries {path}, {places[k]}: {said}, found {', '.join(f'{value:g}' for value in rows[k])}; "
                "correct the row or leave it out"
            )


def _npy_rows(path: Path) -> tuple[np.ndarray, Sequence[str]]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"queries {path} cannot be read as .npy ({error}); write it with np.save: {_FORM}") from None
    shaped = isinstance(array, np.ndarray) and array.ndim == 2 and array.shape[1] in (len(_PIXELS), len(_WORLD))
    if not shaped or array.dtype.kind not in "iuf":
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive of arrays"
        getattr(array, "close", lambda: None)()  # an archive stays open
        raise ConfigError(f"queries {path} should be numbers of shape (N, 3) or (N, 4), found {found}; give it {_FORM}")
    return array.astype(np.float64), [f"row {k}" for k in range(len(array))]


def _csv_rows(path: Path) -> tuple[np.ndarray, Sequence[str]]:
    table = _csv_table(path)
    names: tuple[str, ...] | None = None
    if table and not _is_number(table[0][1][0]):
        names = _columns(path, table.pop(0)[1])
    rows = []
    for line, cells in table:
        names = names or (_WORLD if len(cells) == len(_WORLD) else _PIXELS)
        if len(cells) != len(names):
            raise ConfigError(
                f"queries {path}, line {line}: expected {len(names)} values ({', '.join(names)}), found {len(cells)}; "
                "give all rows the same columns"
            )
        bad = [cell for cell in cells if not _is_number(cell)]
        if bad:
            raise ConfigError(f"queries {path}, line {line}: {bad[0]!r} is not a number; {_FORM} are expected")
        rows.append([float(cells[names.index(name)]) for name in (_WORLD if "z" in names else _PIXELS)])
    return np.array(rows, np.float64), [f"line {line}" for line, _ in table]


def _csv_table(path: Path) -> list[tuple[int, list[str]]]:
    """Return the lines that hold something: the number of each line, from 1, and its cells without spaces around."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"queries {path} cannot be read as text ({error}); save it as CSV in UTF-8") from None
    held = [(k, line) for k, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")]
    delimiter = max(",;\t", key=held[0][1].count) if held else ","
    try:
        return [(k, [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]) for k, line in held]
    except csv.Error as error:
        raise ConfigError(f"queries {path} is not a CSV table ({error}); {_FORM} are expected") from None


def _columns(path: Path, cells: Sequence[str]) -> tuple[str, ...]:
    names = tuple(cell.lower() for cell in cells)
    if sorted(names) not in (sorted(_PIXELS), sorted(_WORLD)):
        raise ConfigError(
            f"queries {path} names the columns {', '.join(cells)}; expected frame, x, y for pixels, or frame, x, y, z "
            "for places in the world"
        )
    return names


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text)) or text.lower() == "nan"
    except ValueError:
        return False
