"""Writes OUT/report.html from what a run left in its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geoflow.engine.trace import write_trace
from geoflow.errors import GeoFlowError
from geoflow.report import markup
from geoflow.report.markup import number, text
from geoflow.report.score_section import read_scores
from geoflow.report.timeline_section import timeline_section
from geoflow.report.video_section import stage_seconds, video_section
from geoflow.store.run import Run, load_run
from geoflow.store.whole import write_whole

_MOST_VIDEOS = 20  # shown with pictures; a report of thousands would not open


def write_report(out_dir: str | os.PathLike[str]) -> Path:
    """Write the report of a finished run, and the trace of its calls beside it; returns the report's path.

    Raises StoreError when the folder is not a run's, or the disk refuses.
    """
    run = load_run(out_dir)
    scores = read_scores(run.paths)
    body = [_header(run), _failures(run), _inputs(run)]
    complete = [row for row in run.index if row["status"] == "complete"]
    for row in complete[:_MOST_VIDEOS]:
        body.append(_video(run, row, scores.get(row["name"])))
    if len(complete) > _MOST_VIDEOS:
        body.append(
            f'<p class="soft">{len(complete) - _MOST_VIDEOS} more videos are listed above without pictures.</p>'
        )
    body += [timeline_section(run.paths), _work(run)]
    if run.paths.events.is_file():
        write_trace(run.paths.events, run.paths.trace)
    page = markup.page(f"GeoFlow: {run.paths.root.resolve().name}", "".join(body))
    write_whole(run.paths.report, page.encode("utf-8", errors="replace"))
    return run.paths.report


def _header(run: Run) -> str:
    complete = [row for row in run.index if row["status"] == "complete"]
    failed = len(run.index) - len(complete)
    frames = sum(row.get("num_frames") or 0 for row in complete)
    posed = sum(row.get("frames_posed") or 0 for row in complete)
    facts = [
        f'<li class="good"><b>{len(complete)}</b>complete</li>',
        f'<li class="bad"><b>{failed}</b>failed</li>' if failed else "",
        f"<li><b>{frames:,}</b>frames</li>",
        f"<li><b>{posed:,}</b>with a camera pose</li>",
    ]
    return f'<h1>{text(run.paths.root.resolve().name)}</h1><ul class="facts">{"".join(facts)}</ul>'


def _failures(run: Run) -> str:
    rows = [
        [text(row["name"]), text(row["reason"] or "no reason recorded"), text(row["source"])]
        for row in run.index
        if row["status"] != "complete"
    ]
    if not rows:
        return ""
    table = markup.table(["input", "reason", "source"], rows, ["", "wide", "wide"])
    return f'<section class="failures"><h2>Failed inputs</h2>{table}</section>'


def _inputs(run: Run) -> str:
    return f"<section><h2>Inputs</h2>{_input_table(run)}</section>"


def _input_table(run: Run) -> str:
    head = ["name", "state", "frames", "size", "segments", "posed", "depth", "camera", "work"]
    rows = []
    for row in sorted(run.index, key=lambda row: row["status"] == "complete"):
        good = row["status"] == "complete"
        state = text(row["status"])
        if row.get("incomplete_segments"):
            state += f' <span class="warn">({row["incomplete_segments"]} segments incomplete)</span>'
        coverage = row.get("geometry_coverage")
        rows.append(
            [
                text(row["name"]),
                f'<span class="{"good" if good else "bad"}">{state}</span>',
                number(row.get("num_frames")),
                f"{row['width']} by {row['height']}" if row.get("width") else "—",
                number(row.get("segments")),
                number(row.get("frames_posed")),
                number(None if coverage is None else 100 * coverage, 0, " %"),
                text(row.get("motion") or "—"),
                "—" if row.get("seconds") is None else markup.seconds(row["seconds"]),
            ]
        )
    kinds = ["", "", "number", "", "number", "number", "number", "", "number"]
    return markup.table(head, rows, kinds)


def _video(run: Run, row: Mapping[str, Any], scores: Mapping[str, Any] | None) -> str:
    try:
        with run.videos[row["name"]] as video:
            return video_section(video, row, scores)
    except (GeoFlowError, OSError, KeyError, ValueError) as error:
        return (
            f'<section class="failures"><h2>{text(row["name"])}</h2>'
            f"<p>Its store cannot be shown: {text(error)}</p></section>"
        )


def _work(run: Run) -> str:
    totals = stage_seconds(run.segments)
    several = len(run.videos) > 1  # a single video shows the same bars in its own section
    bars = f"<h2>Work per stage, whole run</h2>{markup.bars(totals)}" if totals and several else ""
    record = markup.details("Run record", run.record) if run.record else ""
    return f"<section>{bars}{record}</section>" if bars or record else ""
