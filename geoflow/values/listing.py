"""Listings for the console that can be read at any width: entries, each a heading and a few facts below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def render_entries(entries: Iterable[tuple[str, Mapping[str, str]]]) -> Any:
    """Return entries as rich shows them; a fact may have several lines, and facts without text are left out."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = []
    for heading, facts in entries:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for label, text in facts.items():
            if text:
                table.add_row(f"  {label}", Text(text))
        parts += [Text(heading, style="bold"), table]
    return Group(*parts)
