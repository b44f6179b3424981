"""The clips of a bench in one table: a row for each clip and branch, and the score of a trivial answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from geoflow.bench.footage.footage_summary import percent
from geoflow.evaluate.score_table import HEADINGS, cell, fixed
from geoflow.evaluate.unscored import sentences
from geoflow.store.schema import MOTION_NAMES
from geoflow.store.writer import motion_summary

if TYPE_CHECKING:
    from rich.console import RenderableType


_DEPTH = (
    ("coverage", "covers %", percent(0)),
    ("abs_rel", "AbsRel", fixed("")),
    ("delta1", "δ<1.25", fixed("")),
    ("spearman", "order", fixed("", 2)),
    ("reversed_frames", "reversed %", percent(0)),
    ("flicker", "flicker %", percent(2)),
    ("seam_jump", "seam %", percent(2)),
    ("scale_drift", "drift %", percent(1)),
    ("invented", "invents %", percent(0)),
)
_POSES = (
    ("frames_posed", "posed %", percent(0)),
    ("ate_percent", "ATE %", fixed("", 2)),
    ("focal_error", "focal %", percent(1)),
)
_TRACKS = (("error_percent", "tracks %", fixed("", 2)),)
# Branch, and the places of its depth, camera and track scores.
_BRANCHES = (
    ("prior", "prior", "", ""),
    ("geometry", "geometry", "", ""),
    ("camera", "camera", "poses", "tracks"),
    ("trivial", "constant_plane", "identity_pose", ""),
)


def render_rows(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return rows of `bench_footage` as a rich table, and below it the reasons of clips that failed and of dashes.

    "order" is the median rank correlation with the true depth. Shares and errors are in percent if the heading says so;
    CPU seconds are per frame, for the whole pipeline. The last column is what the store says that the camera does, and
    what it really does.
    """
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    table.add_column("clip")
    table.add_column("branch")
    for heading in ("frames", *(heading for _, heading, _ in (*_DEPTH, *_POSES, *_TRACKS)), "CPU s"):
        table.add_column(heading, justify="right")
    table.add_column("camera")
    reasons = []
    for row in rows:
        if row["status"] == "complete":
            for line in _lines(row):
                table.add_row(*line)
            table.add_section()
        else:
            table.add_row(row["clip"], row["status"], end_section=True)
            reasons.append(Text(f"{row['clip']}: {row['reason']}", style="red"))
    return Group(table, *reasons, *(Text(note, style="dim") for note in _dashes(rows)))


def _dashes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return why figures of this table could not be measured: a sentence with all the clips that it holds for."""
    shown = {name for columns in (_DEPTH, _POSES, _TRACKS) for name, *_ in columns}
    headings = {
        row: {name: heading for name, heading in names.items() if name in shown} for row, names in HEADINGS.items()
    }
    clips: dict[str, list[str]] = {}
    for row in rows:
        reasons = (row.get("scores") or {}).get("unscored") or {}
        for sentence in sentences({key: reason for key, reason in reasons.items() if "." in key}, headings):
            clips.setdefault(sentence, []).append(row["clip"])
    return [f"{', '.join(names)}: {sentence}" for sentence, names in clips.items()]


def _lines(row: Mapping[str, Any]) -> list[list[str]]:
    """Return a line of cells for each branch that the clip's store holds; the trivial answer is last."""
    scores = row["scores"]
    lines: list[list[str]] = []
    cpu, motion = f"{sum(row['cpu_seconds_per_frame'].values()):.2f}", _motion(scores.get("motion"))
    for branch, *names in _BRANCHES:
        if not scores.get(names[0]) and not scores.get(names[1]):
            continue
        cells = []
        for name, columns in zip(names, (_DEPTH, _POSES, _TRACKS)):
            values = scores.get(name) or {}
            cells += [cell(values, key, show) if values else "" for key, _, show in columns]
        first = not lines
        once = (row["clip"], str(row["frames"]), cpu, motion) if first else ("",) * 4
        lines.append([once[0], branch, once[1], *cells, *once[2:]])
    return lines


def _motion(scores: Mapping[str, Any] | None) -> str:
    if not scores:
        return ""
    said = motion_summary([round(1000 * scores[name]) for name in MOTION_NAMES])
    return f"{said} ({scores['truth'] or 'unknown'})"
