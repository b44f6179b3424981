"""The comparison as tables: the rows that the console and the page share, and the console's rendering."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.evaluate.score_table import (
    DEPTH_ROWS,
    MOTION_ROWS,
    POINT_TRACK_ROWS,
    POSE_ROWS,
    TRACK_ROWS,
    Rows,
    fill,
    fixed,
    scaling_columns,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from geoflow.comparison.found import Between, Comparison, Pair, RunComparison

_ABSENT = "—"
_HELD_DEPTH = ("coverage", "abs_rel", "delta1", "abs_rel_per_frame", "spearman", "flicker", "focal_error")
_HELD_POSES = ("ate_percent", "ate_m", "rpe_translation_m", "rpe_rotation_deg", "rotation_deg", "focal_error")
_RATIO = ("scale", "depth ratio, B over A", fixed(""), "")
# Of A against B: "better" would be the wrong word for a figure near B's, so that no arrow shows a direction.
HELD_DEPTH: Rows = (_RATIO, *((n, h, show, "") for n, h, show, _ in DEPTH_ROWS if n in _HELD_DEPTH))
HELD_POSES: Rows = tuple((n, h, show, "") for n, h, show, _ in POSE_ROWS if n in _HELD_POSES)


def shown(value: Any) -> str:
    """Write a setting or a statistic; a dash for None."""
    if value is None:
        return _ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def statistics(found: Comparison) -> dict[str, Pair]:
    """Return the statistics with the datasets that only one store holds."""
    alone = {f"{name} (dataset)": forms for name, forms in found.only_in_one.items()}
    return {**found.statistics, **alone}


def score_tables(found: Comparison) -> list[tuple[str, Rows, dict[str, dict[str, Any]]]]:
    """Return the tables of scores against the truth: title, rows, and a column for each branch of A and B."""
    if found.scores is None:
        return []
    sides = dict(zip("AB", found.scores))
    tables = []
    for title, rows, names in (
        ("depth, against the truth", DEPTH_ROWS, ("prior", "geometry", "camera")),
        ("camera path, against the truth", POSE_ROWS, ("poses",)),
        ("tracks, against the truth", TRACK_ROWS, ("tracks",)),
        ("what the camera does, against the truth", MOTION_ROWS, ("motion",)),
    ):
        columns = {
            f"{side} {name}" if len(names) > 1 else side: asdict(row)
            for name in names
            for side, scores in sides.items()
            if (row := getattr(scores, name)) is not None
        }
        tables.append((title, rows, columns))
    points = {
        f"{side} {heading}": column
        for side, scores in sides.items()
        if scores.point_tracks is not None
        for heading, column in scaling_columns(asdict(scores.point_tracks)).items()
    }
    tables.append(("point tracks (TAPVid-3D), against the truth", POINT_TRACK_ROWS, points))
    return [table for table in tables if table[2]]


def held_tables(held: Between) -> list[tuple[str, Rows, dict[str, dict[str, Any]]]]:
    """Return the tables of A against B."""
    depth = {name: asdict(row) for name, row in held.depth.items()}
    poses = {} if held.poses is None else {"camera": asdict(held.poses)}
    tables: list[tuple[str, Rows, dict[str, dict[str, Any]]]] = [
        (f"depth of A, held against B ({held.frames} frames)", HELD_DEPTH, depth),
        ("camera path of A, held against B", HELD_POSES, poses),
    ]
    return [(title, _measured(rows, columns), columns) for title, rows, columns in tables if columns]


def _measured(rows: Rows, columns: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Return the rows in which some column has a figure: lengths in metres, for instance, are often unknown."""
    return tuple(row for row in rows if any(np.isfinite(column[row[0]]) for column in columns.values()))


def render_store(found: Comparison) -> RenderableType:
    """Return the comparison of two stores for the console."""
    from rich.console import Group
    from rich.text import Text

    return Group(Text(f"A: {found.a}\nB: {found.b}"), *_tables(found))


def render_run(found: RunComparison) -> RenderableType:
    """Return the comparison of two runs for the console."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(f"A: {found.a}\nB: {found.b}")]
    for name, row in found.videos.items():
        parts += [Text(f"\n{name}", style="bold"), *_tables(row)]
    return Group(*parts, *(Text(line, style="yellow") for line in alone(found)))


def alone(found: RunComparison) -> list[str]:
    """Return sentences on the videos that only one of the two runs completed."""
    said = [f"only A completed {', '.join(found.only_in_a)}"] if found.only_in_a else []
    said += [f"only B completed {', '.join(found.only_in_b)}"] if found.only_in_b else []
    for name, reasons in found.failures.items():
        said += [f"{name} failed in {side}: {reason}" for side, reason in zip("AB", reasons) if reason is not None]
    return said


def _tables(found: Comparison) -> Iterator[Any]:
    from rich.table import Table
    from rich.text import Text

    if found.settings:
        yield _pairs("settings that differ", found.settings)
    else:
        yield Text("no setting differs")
    yield _pairs("what they hold", statistics(found))
    held = [] if found.between is None else held_tables(found.between)
    for title, rows, columns in [*score_tables(found), *held]:
        table = Table(title=title, title_justify="left")
        fill(table, rows, columns)
        yield table
    for note in found.notes:
        yield Text(f"note: {note}", style="yellow")


def _pairs(title: str, pairs: Mapping[str, Pair]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "A", "B", title=title, title_justify="left")
    for name, (first, second) in pairs.items():
        style = "" if first == second else "bold"
        table.add_row(name, Text(shown(first), style), Text(shown(second), style))
    return table
