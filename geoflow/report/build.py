"""Write OUT/report.html from the files of a run, and a page for each video below OUT/report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from geoflow.errors import GeoFlowError
from geoflow.observe.trace import write_trace
from geoflow.report import markup
from geoflow.report.markup import text
from geoflow.report.overview import totals, video_table
from geoflow.report.score_section import current, read_scores
from geoflow.report.timeline_section import RunTimes
from geoflow.report.video_page import SCRIPTS, VideoPart, contents, stage_seconds, video_part
from geoflow.store.mirror import records
from geoflow.store.run import Run, load_run
from geoflow.store.whole import write_whole

_MOST_THUMBNAILS = 200  # videos; in a longer list pictures would take megabytes
_FRAMES = {20: 24, 100: 12}  # up to this many videos: frames shown of each
_FEWEST_FRAMES = 6


def write_report(out_dir: str | os.PathLike[str]) -> Path | str:
    """Write the report of a finished run, and the trace of its calls beside it; return the report's path or URI.

    The report of a single video is one page; for several, the overview links to a page for each. A page needs no other
    file. Raises StoreError if the folder is not a run's, or cannot be written.
    """
    with records(out_dir, back=("report.html", "report/*.html", "trace.json")) as paths:
        _write_pages(load_run(paths))
        return paths.whole(paths.report.name)


def _write_pages(run: Run) -> None:
    scores = current(read_scores(run.paths), run.index)
    times = RunTimes(run.paths)
    scripts: tuple[str, ...] = SCRIPTS
    if not (body := _single(run, scores, times)):
        body, scripts = _several(run, scores, times), ("table.js",)
    if run.paths.events.is_file():
        write_trace(run.paths.events, run.paths.trace)
    _write(run.paths.report, f"GeoFlow: {_name(run)}", body, scripts)


def _single(run: Run, scores: Mapping[str, Any], times: RunTimes) -> str:
    """Return the page of a run with one video: all about the video and the run; "" if there is not exactly one."""
    if len(run.index) != 1 or len(run.videos) != 1:
        return ""
    row = run.index[0]
    part = _part(run, row, scores, "", frames=max(_FRAMES.values()))
    if isinstance(part, str):
        return ""
    sections = part.html + times.run_section() + _record(run)
    return (
        f'<p class="kicker">GeoFlow · {text(_name(run))}</p><h1>{text(row["name"])}</h1>{contents(sections)}{sections}'
    )


def _several(run: Run, scores: Mapping[str, Any], times: RunTimes) -> str:
    """Return the overview; the pages of the videos are written on the way."""
    complete = [row for row in run.index if row["status"] == "complete"]
    frames = next((shown for most, shown in _FRAMES.items() if len(complete) <= most), _FEWEST_FRAMES)
    links: dict[str, str] = {}
    thumbnails: dict[str, tuple[str, ...]] = {}
    troubles: dict[str, str] = {}
    for k, row in enumerate(complete):
        name = row["name"]
        part = _part(run, row, scores, times.video_section(name), frames=frames)
        if isinstance(part, str):  # the video has a page nevertheless, since its neighbours link to it
            troubles[name] = part
            part = VideoPart(f'<p class="bad">Its store cannot be shown: {text(part)}</p>', ())
        if len(complete) <= _MOST_THUMBNAILS:
            thumbnails[name] = part.thumbnails
        neighbours = [complete[j]["name"] if 0 <= j < len(complete) else None for j in (k - 1, k + 1)]
        page = run.paths.report_page(name)
        _write(page, f"GeoFlow: {name}", _page(run, name, part, neighbours), SCRIPTS)
        links[name] = f"{page.parent.name}/{_link(page)}"
    sections = video_table(run.index, links, thumbnails, troubles) + times.run_section() + _work(run) + _record(run)
    head = f'<p class="kicker">GeoFlow</p><h1>{text(_name(run))}</h1>{totals(run.index, times.seconds)}'
    return head + contents(sections) + sections


def _page(run: Run, name: str, part: VideoPart, neighbours: list[str | None]) -> str:
    ways = [f'<a href="../{_link(run.paths.report)}">All videos</a>']
    for other, words in zip(neighbours, ("Previous", "Next")):
        if other is not None:
            ways.append(f'<a href="{_link(run.paths.report_page(other))}" title="{text(other)}">{words}</a>')
    return (
        f'<nav class="ways" aria-label="videos">{"".join(ways)}</nav>'
        f"<h1>{text(name)}</h1>{contents(part.html)}{part.html}"
    )


def _part(
    run: Run, row: Mapping[str, Any], scores: Mapping[str, Any], timeline: str, *, frames: int
) -> VideoPart | str:
    """Return what a video's page shows, or why its store cannot be shown."""
    try:
        with run.videos[row["name"]] as video:
            return video_part(video, row, scores.get(row["name"]), timeline, frames=frames)
    except (GeoFlowError, OSError, KeyError, ValueError) as error:
        return str(error)


def _link(path: Path) -> str:
    """Return a file's name as a relative link, with any characters escaped."""
    return quote(os.fsencode(path.name), safe="")


def _name(run: Run) -> str:
    return run.paths.root.resolve().name


def _work(run: Run) -> str:
    seconds = stage_seconds(run.segments)
    return f'<section id="work"><h2>Work per stage</h2>{markup.bars(seconds)}</section>' if seconds else ""


def _record(run: Run) -> str:
    if not run.record:
        return ""
    return f'<section id="record"><h2>Run record</h2>{markup.details("run.json", run.record)}</section>'


def _write(path: Path, title: str, body: str, scripts: tuple[str, ...]) -> None:
    write_whole(path, markup.page(title, body, scripts).encode("utf-8", errors="replace"))
