"""What the run's actors did: their timeline, and a row for each stage."""

from __future__ import annotations

from typing import Any

from geoflow.engine.ledger import iter_events, last_run
from geoflow.engine.timeline import StageRow, Timeline, build_timeline
from geoflow.report import markup
from geoflow.report.markup import number, text
from geoflow.report.timeline_figure import timeline_figure
from geoflow.store.paths import RunPaths

_HEAD = ["stage", "actors", "busy", "calls", "work", "median", "95 %", "waited", "MB", "retries", "restarts", "ladder"]


def timeline_section(paths: RunPaths) -> str:
    """The section for the latest run into a folder; "" when its ledger holds no call."""
    if not paths.events.is_file():
        return ""
    timeline = build_timeline(iter_events(paths.events, last_run(paths.events)))
    figure = timeline_figure(timeline)
    if not figure:
        return ""
    note = (
        f"The latest run, {markup.seconds(timeline.ended - timeline.began)}. Grey: loading; red: failed, or the end of "
        "an actor; pale: `finish` of a video. Median and 95 %: of a call that succeeded; waited: median from a call's "
        f"submission to its start, most of it behind the call before. All calls: {paths.trace.name}, for "
        "ui.perfetto.dev."
    )
    table = markup.table(_HEAD, [_stage(row, timeline) for row in timeline.stages.values()], ["", *["number"] * 11])
    return f'<section><h2>Timeline</h2>{figure}<p class="soft">{text(note)}</p>{table}</section>'


def _stage(row: StageRow, timeline: Timeline) -> list[str]:
    found = row.summary()
    actors = [actor for actor in timeline.actors if actor.slot == row.slot]
    share = sum(actor.busy_share(timeline.ended) for actor in actors) / len(actors) if actors else None
    return [
        text(row.slot),
        str(len(actors)),
        number(None if share is None else 100 * share, 0, " %"),
        number(found["calls"]),
        markup.seconds(found["busy_seconds"]),
        _short(found["median_seconds"]),
        _short(found["p95_seconds"]),
        _short(found["median_wait_seconds"]),
        number(found["bytes"] / 1e6),
        number(found["retries"]),
        number(found["restarts"]),
        number(found["ladder_level"]),
    ]


def _short(value: Any) -> str:
    """Seconds, in milliseconds where that reads better; a dash for none."""
    if value is None:
        return "—"
    return f"{1e3 * value:.0f} ms" if value < 1 else markup.seconds(value)
