"""The score table for the console."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from geoflow.evaluate.object_scores import object_columns
from geoflow.evaluate.scores import DepthScores, PointTrackScores, Scores, TrackEvaluation
from geoflow.evaluate.unscored import sentences

if TYPE_CHECKING:
    from rich.console import RenderableType

_Format = Callable[[float], str]
Rows = tuple[tuple[str, str, _Format, str], ...]


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def fixed(unit: str, digits: int = 3) -> _Format:
    return lambda value: f"{value:.{digits}f}{unit}"


# Attribute, heading, format, and an arrow for the better direction.
DEPTH_ROWS: Rows = (
    ("filled", "pixels with depth", percent, ""),
    ("coverage", "coverage", percent, "↑"),
    ("abs_rel", "AbsRel", fixed(""), "↓"),
    ("delta1", "δ < 1.25", fixed(""), "↑"),
    ("abs_rel_per_frame", "AbsRel, scale per frame", fixed(""), "↓"),
    ("delta1_per_frame", "δ < 1.25, scale per frame", fixed(""), "↑"),
    ("spearman", "rank correlation", fixed(""), "↑"),
    ("spearman_worst", "lowest rank correlation", fixed(""), "↑"),
    ("reversed_frames", "reversed frames", percent, "↓"),
    ("point_rel", "point error", fixed(""), "↓"),
    ("point_inliers", "point inliers", percent, "↑"),
    ("flicker", "flicker", lambda v: f"{100 * v:.2f} %", "↓"),
    ("seam_jump", "seam jump", lambda v: f"{100 * v:.2f} %", "↓"),
    ("seam_drift", "seam drift", lambda v: f"{100 * v:.2f} %", "↓"),
    ("scale_drift", "scale drift", lambda v: f"{100 * v:.2f} %", "↓"),
    ("invented", "invented depth", percent, "↓"),
    ("focal_error", "focal error", percent, "↓"),
)
POSE_ROWS: Rows = (
    ("frames_posed", "frames posed", percent, "↑"),
    ("frames_oriented", "frames with a rotation", percent, "↑"),
    ("ate_percent", "ATE, of path", fixed(" %", 2), "↓"),
    ("ate_m", "ATE", fixed(" m"), "↓"),
    ("rpe_translation_m", "RPE", fixed(" m", 4), "↓"),
    ("rpe_rotation_deg", "RPE, rotation", fixed("°"), "↓"),
    ("drift_10_percent", "drift over 1/10 of the path", fixed(" %", 2), "↓"),
    ("drift_50_percent", "drift over 1/2 of the path", fixed(" %", 2), "↓"),
    ("rotation_deg", "rotation", fixed("°"), "↓"),
    ("focal_error", "focal error", percent, "↓"),
)
OBJECT_ROWS: Rows = (
    ("iou", "IoU, mean over the frames", fixed(""), "↑"),
    ("missed", "frames without it that should show it", percent, "↓"),
    ("invented", "frames with it that should not show it", percent, "↓"),
    ("posed", "frames with its pose", percent, "↑"),
    ("rotation_deg", "rotation of its poses", fixed("°", 2), "↓"),
    ("translation", "place of its poses, of its size", percent, "↓"),
    ("travelled", "the same if it stood still", percent, ""),
    ("body", "body of the truth", lambda value: f"{value:.0f}", ""),
)
MOTION_ROWS: Rows = (
    ("moving", "moving", percent, ""),
    ("still", "still", percent, ""),
    ("rotating", "rotating in place", percent, ""),
    ("unknown", "unknown", percent, ""),
    ("right", "agrees with the truth", percent, "↑"),
)
TRACK_ROWS: Rows = (
    ("tracks", "tracks on static surfaces", lambda v: f"{v:.0f}", ""),
    ("visible_frames", "frames visible", fixed("", 1), ""),
    ("error_percent", "3D error, of scene depth", fixed(" %", 2), "↓"),
    ("uv_error_px", "2D error", fixed(" px", 2), "↓"),
    ("lasting", "points seen to the end", lambda v: f"{v:.0f}", ""),
    ("lasting_kept", "of these kept to the end", percent, "↑"),
)
# A column for each scaling of the predictions.
POINT_TRACK_ROWS: Rows = (
    ("jaccard", "3D-AJ", percent, "↑"),
    ("within", "APD3D", percent, "↑"),
    ("occlusion_accuracy", "OA", percent, "↑"),
    ("scale", "scale", fixed(""), ""),
)
_POINT_TRACK_COLUMNS: Rows = (
    ("unscaled", "figures without scaling", percent, ""),
    ("answered", "figures of answered queries", percent, ""),
)
# By row of a result: figure -> its heading in the tables.
HEADINGS: dict[str, dict[str, str]] = {
    row: {name: heading for name, heading, *_ in rows}
    for rows, names in (
        (DEPTH_ROWS, ("prior", "geometry", "camera", "constant_plane")),
        (POSE_ROWS, ("poses", "identity_pose")),
        (TRACK_ROWS, ("tracks",)),
        (_POINT_TRACK_COLUMNS, ("point_tracks",)),
        (MOTION_ROWS, ("motion",)),
    )
    for row in names
}


def cell(scores: Any, name: str, show: _Format) -> str:
    """Format one value of a score object or its dictionary; a dash if it could not be measured."""
    value = scores.get(name) if isinstance(scores, dict) else getattr(scores, name, None)
    return "—" if value is None or not math.isfinite(value) else show(value)


def render_table(scores: Scores) -> RenderableType:
    """Return depth, poses and tracks as one rich renderable; arrows show which direction is better."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    columns = {"prior": scores.prior, "geometry": scores.geometry, "camera": scores.camera}
    shown: dict[str, DepthScores] = {name: branch for name, branch in columns.items() if branch is not None}
    shown["constant plane"] = scores.constant_plane
    depth = Table(title=Text(f"{scores.video}: depth, {scores.num_frames} frames"), title_justify="left")
    fill(depth, DEPTH_ROWS, shown)
    poses = Table(title="camera path", title_justify="left")
    fill(poses, POSE_ROWS, ({"camera": scores.poses} if scores.poses else {}) | {"identity pose": scores.identity_pose})
    parts: list[Any] = [depth, poses]
    if scores.tracks is not None:
        tracks = Table(title="tracks", title_justify="left")
        fill(tracks, TRACK_ROWS, {"tracks": scores.tracks})
        parts.append(tracks)
    if scores.point_tracks is not None:
        parts.append(_point_track_table(scores.point_tracks))
    if scores.objects is not None:
        masks = Table(title=f"masks of objects, mean IoU {scores.objects.mean_iou:.3f}", title_justify="left")
        fill(masks, OBJECT_ROWS, object_columns(asdict(scores.objects)))
        parts.append(masks)
    if scores.motion is not None:
        motion = Table(title=f"what the camera does ({scores.motion.truth or 'unknown'})", title_justify="left")
        fill(motion, MOTION_ROWS, {"claimed": scores.motion})
        parts.append(motion)
    return Group(*parts, *_note_lines(scores.notes))


def render_point_tracks(found: TrackEvaluation) -> RenderableType:
    """Return the scores of point tracks alone as one rich renderable."""
    from rich.console import Group
    from rich.text import Text

    if found.point_tracks is None:
        return Group(Text(f"{found.video}: no scores of point tracks: {found.unscored['point_tracks']}"))
    reasons = sentences(found.unscored, HEADINGS)
    return Group(_point_track_table(found.point_tracks), *_note_lines([*reasons, *found.notes]))


def _point_track_table(scores: PointTrackScores) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title="point tracks (TAPVid-3D)", title_justify="left")
    fill(table, POINT_TRACK_ROWS, scaling_columns(asdict(scores)))
    return Group(table, Text(answered(asdict(scores))))


def scaling_columns(scores: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the columns of point tracks by heading, from the dictionary of `PointTrackScores`."""
    names = {
        "median": "median scale",
        "per_trajectory": "scale per trajectory",
        "unscaled": "no scaling",
        "answered": "median scale, answered queries only",
    }
    return {heading: scores[name] for name, heading in names.items() if scores.get(name)}


def answered(scores: Mapping[str, Any]) -> str:
    """Say how the queries of point tracks were answered, from the dictionary of `PointTrackScores`.

    >>> answered({"queries": 9, "by_query": 5, "nearest": 1, "missed": 3, "radius_px": 4.0})
    '9 queries: 5 tracks made for them, 1 nearest within 4 px of 256, 3 missed'
    """
    return (
        f"{scores['queries']} queries: {scores['by_query']} tracks made for them, {scores['nearest']} nearest within "
        f"{scores['radius_px']:g} px of 256, {scores['missed']} missed"
    )


def _note_lines(notes: Iterable[str]) -> list[Any]:
    from rich.text import Text

    return [Text(f"note: {note}", style="dim") for note in notes]


def fill(table: Any, rows: Rows, columns: Mapping[str, Any]) -> None:
    """Add a column for each score object or dictionary, and a row for each figure, to a table of rich."""
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for name, heading, show, better in rows:
        table.add_row(f"{heading} {better}".rstrip(), *(cell(column, name, show) for column in columns.values()))
