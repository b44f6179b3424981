"""Prompts as a table: `objects.csv`, a row for each box, point, or word for an object.

    frame,id,x,y,x2,y2
    0,1,40,30,120,90
    12,2,200,80,,

The columns `frame` and `id` (or `object`) are needed. `x` and `y` are a point; with `x2` and `y2`, the left, top, right
and bottom of a box. In the column `on`, 0 marks a point that lies beside the object. The column `text` holds words for
the object, and `video` the name of the video, which may be absent if there is only one. Lines that begin with # do not
count.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geoflow.errors import ConfigError

_OTHER_NAMES = {"object": "id", "x1": "x", "y1": "y"}
_NEEDED = ("frame", "id")
_COLUMNS = (*_NEEDED, "x", "y", "x2", "y2", "on", "text", "video")
_REMEDY = "expected the columns frame, id, x, y and for boxes x2, y2; there may be on, text and video"


def prompt_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Return prompts by video, each by its place in the file, in the form that `prompts.read_prompts` takes.

    The video is "" where the table does not name it. Points of an object in one frame become one prompt, which has the
    place of the first. Raises ConfigError that names file and line.
    """
    found: dict[str, dict[str, Any]] = {}
    together: dict[tuple[str, int, int], dict[str, Any]] = {}
    for line, cells in _table(path):
        where = f"--objects {path}, line {line}"
        number, frame = (_whole(cells, name, where) for name in ("id", "frame"))
        key = cells.get("video", ""), number, frame
        if (prompt := together.get(key)) is None:
            prompt = together[key] = {"object": number, "frame": frame}
            found.setdefault(key[0], {})[where] = prompt
        _add(prompt, cells, where)
    if not found:
        raise ConfigError(f"--objects {path} holds no prompts; {_REMEDY}")
    return found


def _add(prompt: dict[str, Any], cells: Mapping[str, str], where: str) -> None:
    """Add to a prompt what one row shows."""
    if words := cells.get("text", ""):
        if any(cells.get(name) for name in ("x", "y", "x2", "y2")):
            raise ConfigError(f"{where} has words and a place; give the words a row of their own")
        prompt["text"] = words
        return
    x, y = _real(cells, "x", where), _real(cells, "y", where)
    if bool(cells.get("x2")) != bool(cells.get("y2")):
        raise ConfigError(f"{where} has only one of x2 and y2; a box needs both, a point none")
    if not cells.get("x2"):
        on = cells.get("on") or "1"
        if on not in ("0", "1"):
            raise ConfigError(f"{where}: on should be 1, or 0 for a point beside the object; found {on}")
        prompt.setdefault("points", []).append([x, y, int(on)])
        return
    if "box" in prompt:
        raise ConfigError(f"{where} is a second box of object {prompt['object']} in frame {prompt['frame']}; keep one")
    prompt["box"] = [x, y, _real(cells, "x2", where), _real(cells, "y2", where)]


def _table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the number of each row's line, counted from 1, with its cells by column."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--objects {path} cannot be read as text ({error}); save it as CSV in UTF-8") from None
    held = [(k, line) for k, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")]
    if not held:
        raise ConfigError(f"--objects {path} is empty; {_REMEDY}")
    delimiter = max(",;\t", key=held[0][1].count)
    try:
        rows = [(k, [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]) for k, line in held]
    except csv.Error as error:
        raise ConfigError(f"--objects {path} is not a CSV table ({error}); {_REMEDY}") from None
    first, head = rows[0]
    names = [_OTHER_NAMES.get(name.lower(), name.lower()) for name in head]
    if unknown := [cell for cell, name in zip(head, names) if name not in _COLUMNS]:
        raise ConfigError(f"--objects {path}, line {first}: {unknown[0]!r} is no column; {_REMEDY}")
    if missing := [name for name in _NEEDED if name not in names] or [n for n in names if names.count(n) > 1]:
        raise ConfigError(f"--objects {path}, line {first}: should have {missing[0]} once; {_REMEDY}")
    for line, row in rows[1:]:
        if len(row) > len(names):
            raise ConfigError(f"--objects {path}, line {line}: {len(row)} values for {len(names)} columns")
    return [(line, dict(zip(names, row))) for line, row in rows[1:]]


def _real(cells: Mapping[str, str], name: str, where: str) -> float:
    text = cells.get(name, "")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{where}: {name} should be a number, found {text!r}")
    return number


def _whole(cells: Mapping[str, str], name: str, where: str) -> int:
    number = _real(cells, name, where)
    if number != int(number):
        raise ConfigError(f"{where}: {name} should be a whole number, found {cells[name]!r}")
    return int(number)
