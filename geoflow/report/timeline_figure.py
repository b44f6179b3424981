"""The timeline of a run as SVG: a row for each actor, grouped and coloured by stage."""

from __future__ import annotations

import numpy as np

from geoflow.observe.timeline import ActorCall, ActorRow, Timeline
from geoflow.report.markup import text
from geoflow.values.durations import in_words

_WIDTH, _LEFT, _RIGHT, _TOP, _AXIS = 1080, 120, 12, 8, 26
_ROW, _GAP = 12, 3  # px; height of a row, and the space below it
_GROUP_GAP = 6
_PLOT = _WIDTH - _LEFT - _RIGHT
_MOST_ROWS = 60
_MOST_EXACT = 150  # up to this many spans of a row are drawn one by one; more are drawn as shares of busy time
_SHADES = 4
_COLOURS = 8  # classes `line-0` ... of the style sheet


def timeline_figure(timeline: Timeline) -> str:
    """Return the drawing; "" if no actor did anything.

    A row of few calls shows each call with its title. A row of many calls shows how busy its actor was in each pixel,
    so that the page stays small. Loading is grey, failed calls are red, a red bar is an actor's death.
    """
    actors = timeline.actors[:_MOST_ROWS]
    length = timeline.ended - timeline.began
    if not actors or length <= 0:
        return ""
    scale = _PLOT / length
    slots = list(timeline.stages)
    parts: list[str] = []
    y, previous = float(_TOP), None
    for actor in actors:
        if actor.slot != previous:
            y += _GROUP_GAP if previous is not None else 0
            parts.append(f'<text class="plot-text" x="0" y="{y + _ROW - 2:.0f}">{text(actor.slot[:16])}</text>')
            previous = actor.slot
        colour = f"span line-{slots.index(actor.slot) % _COLOURS}"
        parts.append(_row(actor, y, scale, timeline.began, timeline.ended, colour))
        y += _ROW + _GAP
    height = y + _AXIS
    return (
        f'<svg class="timeline" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="timeline of the actors">'
        f"{_axis(length, scale, y)}{''.join(parts)}</svg>"
    )


def _row(actor: ActorRow, y: float, scale: float, began: float, ended: float, colour: str) -> str:
    title = f"{actor.slot} {actor.actor}, {actor.where}: busy {100 * actor.busy_share(ended):.0f} %"
    parts = [f'<rect class="lane" x="{_LEFT}" y="{y:.0f}" width="{_PLOT}" height="{_ROW}"/>']
    exact = len(actor.calls) <= _MOST_EXACT
    for span in actor.calls:
        if exact or span.kind == "load" or not span.good:
            parts.append(_box(span, y, scale, began, colour))
    if not exact:
        parts.append(_shaded([s for s in actor.calls if s.kind != "load"], y, scale, began, colour))
    if actor.died is not None:
        x = _LEFT + (actor.died - began) * scale
        parts.append(f'<rect class="failed" x="{x - 1:.1f}" y="{y - 1:.0f}" width="2" height="{_ROW + 2}"/>')
    return f"<g><title>{text(title)}</title>{''.join(parts)}</g>"


def _box(span: ActorCall, y: float, scale: float, began: float, colour: str) -> str:
    x, width = _LEFT + (span.began - began) * scale, max(0.5, span.seconds * scale - 0.4)
    kind = "failed" if not span.good else {"load": "loading", "finish": f"{colour} finish"}.get(span.kind, colour)
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.0f}" width="{width:.1f}" height="{_ROW}">'
        f"<title>{text(span.title)}: {in_words(span.seconds)}</title></rect>"
    )


def _shaded(spans: list[ActorCall], y: float, scale: float, began: float, colour: str) -> str:
    """Draw a path for each shade: the pixels in which the actor was this busy."""
    levels = np.ceil(busy_pixels(spans, began, scale) * _SHADES - 1e-6).astype(int)
    edges = np.flatnonzero(np.diff(levels, prepend=-1))
    parts = []
    for shade in range(1, _SHADES + 1):
        path = "".join(
            f"M{_LEFT + a} {y:.0f}h{b - a}v{_ROW}h{a - b}z"
            for a, b in zip(edges, [*edges[1:], len(levels)])
            if levels[a] == shade
        )
        if path:
            parts.append(f'<path class="{colour}" opacity="{shade / _SHADES:.2f}" d="{path}"/>')
    return "".join(parts)


def busy_pixels(spans: list[ActorCall], began: float, scale: float) -> np.ndarray:
    """Return the share of each pixel column, (_PLOT,) in [0, 1], covered by spans; `scale` is pixels per second."""
    total = np.zeros(_PLOT + 1)
    ends = np.array([(span.began, span.ended) for span in spans]).reshape(-1, 2)
    first, last = np.clip((ends - began) * scale, 0, _PLOT).T
    # From a span's begin, the rest of this pixel is covered, and every later pixel wholly until the span ends.
    for at, sign in ((first, 1.0), (last, -1.0)):
        pixel = np.minimum(at.astype(int), _PLOT - 1)
        inside = pixel + 1 - at
        np.add.at(total, pixel, sign * inside)
        np.add.at(total, pixel + 1, sign * (1 - inside))
    return np.clip(np.cumsum(total[:_PLOT]), 0, 1)


def _axis(length: float, scale: float, y: float) -> str:
    steps = [base * 10.0**power for power in range(-3, 7) for base in (1, 2, 5)]
    step = next((step for step in steps if length / step <= 10), length)
    parts = []
    for k in range(int(length / step) + 1):
        x = _LEFT + k * step * scale
        parts.append(
            f'<line class="plot-tick" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{y:.0f}"/>'
            f'<text class="plot-text" x="{x:.1f}" y="{y + 14:.0f}" text-anchor="middle">{k * step:g}</text>'
        )
    return "".join(parts) + f'<text class="plot-text" x="{_WIDTH}" y="{y + 14:.0f}" text-anchor="end">s</text>'
