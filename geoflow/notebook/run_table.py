"""The result of a run as a table for a notebook: failures first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from geoflow.report.markup import duration, number, text

if TYPE_CHECKING:
    from geoflow.results import RunResult, VideoResult

_MOST_ROWS = 100
_COLOURS = {"complete": "#2e9e5b", "failed": "#d9534f", "unfit": "#d98e2b"}  # legible on light and on dark
_LEFT, _RIGHT = 'style="text-align:left;padding:2px 12px 2px 0"', 'style="text-align:right;padding:2px 12px 2px 0"'
_COLUMNS = (("video", _LEFT), ("state", _LEFT), ("frames", _RIGHT), ("time", _RIGHT), ("store, or reason", _LEFT))
_PLAIN = 'style="color:inherit;font-size:inherit"'


def run_html(result: RunResult) -> str:
    """Return a summary line, a row per video, and the stages that were disabled."""
    rows = sorted(result.videos, key=lambda video: video.status == "complete")
    body = "".join(_row(video) for video in rows[:_MOST_ROWS])
    more = f"<p>and {len(rows) - _MOST_ROWS} more, see <code>result.videos</code></p>" if len(rows) > _MOST_ROWS else ""
    without = "".join(
        f"<div>without {text(slot)}: {text(reason)}</div>" for slot, reason in sorted(result.disabled.items())
    )
    head = "".join(f"<th {align}>{name}</th>" for name, align in _COLUMNS)
    table = f"<table {_PLAIN}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div style="font-size:13px"><div>{_summary(result)}</div>{table}{more}{without}</div>'


def _summary(result: RunResult) -> str:
    counts = f"{len(result.complete)} complete" + "".join(
        f", {len(rows)} {word}" for rows, word in ((result.failed, "failed"), (result.unfit, "unfit")) if rows
    )
    return f"<b>{counts}</b> in {duration(result.seconds)}, pipeline {text(result.pipeline)}, in {_link(result.out)}"


def _row(video: VideoResult) -> str:
    state = "complete, from an earlier run" if video.reused else video.status
    cells = (
        (text(video.name), _LEFT),
        (f'<span style="color:{_COLOURS[video.status]}">{state}</span>', _LEFT),
        (number(video.frames or None), _RIGHT),
        (duration(video.seconds or None), _RIGHT),
        (_link(video.path) + _recovered(video) if video.path else text(video.reason), _LEFT),
    )
    return "<tr>" + "".join(f"<td {align}>{cell}</td>" for cell, align in cells) + "</tr>"


def _recovered(video: VideoResult) -> str:
    colour = "color:#d98e2b" if video.lacking else "opacity:.7"
    return f'<div style="{colour}">{text(video.recovered)}</div>' if video.recovered else ""


def _link(path: str) -> str:
    """Return a path as a link if Jupyter can follow it: to files below the folder in which the kernel works."""
    near = os.path.relpath(path) if "://" not in path else path
    if "://" in path or near.startswith(".."):
        return f"<code>{text(path)}</code>"
    return f'<a href="{text(quote(near))}" target="_blank" rel="noopener"><code>{text(near)}</code></a>'
