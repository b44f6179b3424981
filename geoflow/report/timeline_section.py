"""The work of a run's actors: their timeline, a row for each stage, and memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from geoflow.observe.events import iter_events
from geoflow.observe.ledger import last_run
from geoflow.observe.timeline import ActorCall, ActorRow, StageRow, Timeline, build_timeline
from geoflow.report import markup
from geoflow.report.markup import number, text
from geoflow.report.memory_section import Memory
from geoflow.report.timeline_figure import timeline_figure
from geoflow.store.paths import RunPaths

_HEAD = ["stage", "actors", "busy", "calls", "work", "median", "95 %", "waited", "MB", "retries", "restarts", "ladder"]
_COLOURS_SAY = "Grey: loading; red: failed, or the end of an actor; pale: the end of a video."


class RunTimes:
    """The latest run into a folder, read once from its ledger; empty if there is no ledger."""

    def __init__(self, paths: RunPaths) -> None:
        self._trace, self._memory = paths.trace.name, Memory()
        self._timeline = build_timeline(self._told(paths))
        self._by_video: dict[str, dict[int, list[ActorCall]]] = defaultdict(lambda: defaultdict(list))
        for actor in self._timeline.actors:
            for span in actor.calls:
                if span.video:
                    self._by_video[span.video][actor.actor].append(span)

    def _told(self, paths: RunPaths) -> Iterator[dict[str, Any]]:
        if paths.events.is_file():
            for row in iter_events(paths.events, last_run(paths.events)):
                self._memory.add(row)
                yield row

    @property
    def seconds(self) -> float:
        return self._timeline.ended - self._timeline.began

    def run_section(self) -> str:
        """Return the section on the whole run; "" if its ledger holds no call."""
        timeline = self._timeline
        figure = timeline_figure(timeline)
        if not figure:
            return ""
        note = (
            f"The latest run, {markup.duration(self.seconds)}. {_COLOURS_SAY} Median and 95 %: successful calls; "
            "waited: median from a call's submission to its start, mostly behind the call before. All calls: "
            f"{self._trace}, for ui.perfetto.dev."
        )
        rows = [_stage(row, timeline) for row in timeline.stages.values()]
        table = markup.table(_HEAD, rows, ["", *["number"] * 11], "work of the stages")
        return (
            f'<section id="timeline"><h2>Timeline</h2>{_scrolled(figure)}<p class="soft">{text(note)}</p>{table}'
            f"{self._memory.html(timeline.stages)}</section>"
        )

    def video_section(self, name: str) -> str:
        """Return the section on the calls of one video; "" if the latest run made none for it."""
        spans = self._by_video.get(name)
        if not spans:
            return ""
        known = [span for calls in spans.values() for span in calls]
        actors = [self._of_video(actor, spans[actor.actor]) for actor in self._timeline.actors if actor.actor in spans]
        began, ended = min(span.began for span in known), max(span.ended for span in known)
        figure = timeline_figure(Timeline(began, ended, actors, self._timeline.stages))
        note = f"The calls for this video, {markup.duration(ended - began)} from the first to the last. {_COLOURS_SAY}"
        return f'<h3>Timeline</h3>{_scrolled(figure)}<p class="soft">{text(note)}</p>'

    @staticmethod
    def _of_video(actor: ActorRow, spans: list[ActorCall]) -> ActorRow:
        return replace(actor, calls=spans, died=None)


def _scrolled(figure: str) -> str:
    """Return the drawing in a box that scrolls, under a line that says so where the screen is narrower."""
    hint = '<p class="soft sideways">Wider than this screen: scroll the drawing sideways.</p>'
    return hint + markup.scroll(figure, "timeline of the actors")


def _stage(row: StageRow, timeline: Timeline) -> list[str]:
    found = row.summary()
    actors = [actor for actor in timeline.actors if actor.slot == row.slot]
    share = sum(actor.busy_share(timeline.ended) for actor in actors) / len(actors) if actors else None
    return [
        text(row.slot),
        str(len(actors)),
        number(None if share is None else 100 * share, 0, " %"),
        number(found["calls"]),
        markup.duration(found["busy_seconds"]),
        markup.duration(found["median_seconds"]),
        markup.duration(found["p95_seconds"]),
        markup.duration(found["median_wait_seconds"]),
        number(found["bytes"] / 1e6),
        number(found["retries"]),
        number(found["restarts"]),
        number(found["ladder_level"]),
    ]
