"""Markdown out of plain values: tables, code, and what a dataclass or a model holds beside its defaults."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns in which no row says anything are left out.

    >>> print(table(("a", "b"), [("1", ""), ("2", "")]))
    | a |
    |---|
    | 1 |
    | 2 |
    """
    rows = [[_cell(cell) for cell in row] for row in rows]
    kept = [i for i in range(len(header)) if any(row[i] for row in rows)]
    lines = [[header[i] for i in kept], *([row[i] for i in kept] for row in rows)]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(kept), *text[1:]])


def _cell(text: str) -> str:
    """A cell: what a table would take for a column, or a browser for a tag, stands escaped outside of code."""
    text = " ".join(str(text).split()).replace("|", "\\|")
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in re.split(r"(`[^`]*`)", text))


def code(text: str) -> str:
    """
    >>> code("T H"), code("")
    ('`T H`', '')
    """
    return f"`{text}`" if text else ""


def properties(row: Any, named: Sequence[str]) -> str:
    """What a mapping, dataclass or pydantic model holds beside `named` and its defaults, as `name: value`."""
    found = []
    for name, default in _defaults(row).items():
        value = row[name] if isinstance(row, Mapping) else getattr(row, name)
        if name not in named and value != default and (text := plain(value)):
            found.append(f"{name.replace('_', ' ')}: {text}")
    return "; ".join(found)


def _defaults(row: Any) -> Mapping[str, Any]:
    if isinstance(row, Mapping):
        return dict.fromkeys(row)
    if dataclasses.is_dataclass(row):
        return {field.name: field.default for field in dataclasses.fields(row)}
    return {name: field.default for name, field in type(row).model_fields.items()}


def plain(value: Any) -> str:
    """A value as a cell shows it."""
    if value is None or value == "":
        return ""
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(code(str(key)) for key in value)
    if isinstance(value, (tuple, list, frozenset)):
        return ", ".join(plain(part) for part in value)
    if dataclasses.is_dataclass(value):
        return properties(value, ()) or "yes"
    return str(value)
