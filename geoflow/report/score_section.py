"""The scores in the report, and how they are read from scores.json."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from geoflow.errors import StoreError
from geoflow.evaluate.object_scores import object_columns
from geoflow.evaluate.score_table import (
    DEPTH_ROWS,
    MOTION_ROWS,
    OBJECT_ROWS,
    POINT_TRACK_ROWS,
    POSE_ROWS,
    TRACK_ROWS,
    answered,
    cell,
    scaling_columns,
)
from geoflow.report.curve_section import curve_section
from geoflow.report.markup import scroll, text
from geoflow.store.paths import RunPaths

_COLUMNS = {"prior": "prior", "geometry": "geometry", "camera": "camera", "constant_plane": "constant plane"}


def read_scores(paths: RunPaths) -> dict[str, dict[str, Any]]:
    """Read the scores by video: scores.json holds one `Scores.to_dict()`, a list of them, or an object by video.

    Returns {} if there is no such file. Raises StoreError if the file is broken.
    """
    if not paths.scores.is_file():
        return {}
    try:
        content = json.loads(paths.scores.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {paths.scores}: {error}; run `geoflow evaluate` again, or delete it") from error
    if isinstance(content, dict) and "video" not in content:
        return {name: scores for name, scores in content.items() if isinstance(scores, dict)}
    rows = content if isinstance(content, list) else [content]
    return {row["video"]: row for row in rows if isinstance(row, dict) and "video" in row}


def current(scores: Mapping[str, dict[str, Any]], index: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Keep the scores that belong to the stores in the index: a later run may have replaced the store."""
    keys = {row["name"]: row.get("key") for row in index}
    return {
        name: row for name, row in scores.items() if not (row.get("key") and keys.get(name) not in (None, row["key"]))
    }


def score_section(scores: Mapping[str, Any]) -> str:
    """Return tables of depth, poses and tracks, and curves over the frames.

    The best branch of each row is marked; baselines are not compared.
    """
    depth = {shown: scores[name] for name, shown in _COLUMNS.items() if scores.get(name)}
    poses = {
        shown: scores[name]
        for name, shown in (("poses", "camera"), ("identity_pose", "identity pose"))
        if scores.get(name)
    }
    parts = ['<div class="tables">']
    parts.append(figures_table(DEPTH_ROWS, depth, baseline="constant plane") if depth else "")
    parts.append(figures_table(POSE_ROWS, poses, baseline="identity pose") if poses else "")
    if scores.get("tracks"):
        parts.append(figures_table(TRACK_ROWS, {"tracks": scores["tracks"]}))
    points = scores.get("point_tracks")
    if points:
        parts.append(figures_table(POINT_TRACK_ROWS, scaling_columns(points)))
    if scores.get("objects"):
        parts.append(figures_table(OBJECT_ROWS, object_columns(scores["objects"])))
    if scores.get("motion"):
        true = scores["motion"].get("truth") or "unknown"
        parts.append(figures_table(MOTION_ROWS, {f"camera says it is; in truth {true}": scores["motion"]}))
    parts += ["</div>", curve_section(scores)]
    parts += [f'<p class="soft">{text(f"point tracks (TAPVid-3D), {answered(points)}")}</p>'] if points else []
    parts += [f'<p class="soft">{text(note)}</p>' for note in scores.get("notes") or ()]
    return "".join(parts)


def figures_table(rows: Any, columns: Mapping[str, Mapping[str, Any]], baseline: str = "") -> str:
    """Return a table with a column for each set of scores; the best of each row is marked, without the baseline."""
    head = "<td></td>" + "".join(f'<th class="number" scope="col">{text(name)}</th>' for name in columns)
    body = []
    for name, heading, show, better in rows:
        best = _best({k: v for k, v in columns.items() if k != baseline}, name, show, better)
        cells = [
            f'<td class="number{" best" if column == best else ""}">{text(cell(values, name, show))}</td>'
            for column, values in columns.items()
        ]
        body.append(f"<tr><th scope='row'>{text(heading)} {better}</th>{''.join(cells)}</tr>")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return scroll(table, f"scores of {', '.join(columns)}")


def _best(columns: Mapping[str, Mapping[str, Any]], name: str, show: Callable[[float], str], better: str) -> str:
    """Return the best column of a row; none if fewer than two are compared, or two look the same."""
    values = {column: row[name] for column, row in columns.items() if row.get(name) is not None}
    values = {column: value for column, value in values.items() if math.isfinite(value)}
    if len(values) < 2 or not better:
        return ""
    best = (max if better == "↑" else min)(values, key=lambda column: values[column])
    shown = [show(value) for value in values.values()]
    return best if shown.count(show(values[best])) == 1 else ""
