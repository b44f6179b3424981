"""Selections, and stores whose quality was measured, as tables on the console and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from geoflow.curation.filling import Filled
from geoflow.curation.selection import Selection

_MOST_LINES = 40


def as_values(found: Selection) -> dict[str, Any]:
    """Return a selection as plain values: how many rows of how many, their frames, and those frames by video."""
    frames = {name: [list(part) for part in ranges] for name, ranges in found.frames.items()}
    total = sum(stop - start for ranges in frames.values() for start, stop in ranges)
    return {"of": found.kind, "chosen": found.table.num_rows, "rows": found.rows, "frames": total, "videos": frames}


def render_selection(found: Selection) -> Any:
    """Return the chosen frames of each video as rich shows them, and how many there are of all."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("video", "frames", box=box.SIMPLE)
    values = as_values(found)
    for name, ranges in list(values["videos"].items())[:_MOST_LINES]:
        table.add_row(Text(name), ", ".join(f"{start} to {stop - 1}" for start, stop in ranges))
    more = len(values["videos"]) - _MOST_LINES
    lines = [f"and {more} more videos"] * (more > 0)
    lines.append(f"{values['chosen']} of {values['rows']} {found.kind}, {values['frames']} frames")
    return Group(*([table] if values["videos"] else []), *map(Text, lines))


def filled_values(found: Sequence[Filled]) -> dict[str, Any]:
    return {"videos": [asdict(row) for row in found], "measured": sum(row.changed for row in found)}


def render_filled(found: Sequence[Filled]) -> Any:
    """Return a line per store as rich shows it."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("video", "quality", "", box=box.SIMPLE)
    for row in found:
        quality = "unknown" if row.quality is None else f"{row.quality:.2f}"
        table.add_row(Text(row.name), quality, Text(row.said or ("measured" if row.changed else "had it already")))
    return Group(table, Text(f"{sum(row.changed for row in found)} of {len(found)} measured"))
