"""A figure as SVG with a line for each branch or stage, over the frames of a video or the time of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geoflow.report.markup import text

_WIDTH, _HEIGHT = 440, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 30, 24
_NAME_ROW = 19
_COLOURS = {"prior": 0, "geometry": 1, "camera": 2}  # classes `line-0` ... of the style sheet
_NUM_COLOURS = 8
DRIVER = 8  # a colour of its own, for lines that are not stages
_MOST_POINTS = 400  # of a line; more could not be distinguished at this size
_LETTER = 7.4  # px, of the lines' names
STEPS = [base * 10.0**power for power in range(-9, 10) for base in (1, 2, 5)]


@dataclass(frozen=True)
class _Axes:
    """The conversion of frame numbers (or seconds) and values to places in the drawing."""

    first: float
    last: float
    low: float
    high: float
    top: float = _TOP  # px; the names of the lines lie above

    def x(self, frame: float) -> float:
        return _LEFT + (frame - self.first) / (self.last - self.first) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - float(np.clip(share, 0, 1)) * (_HEIGHT - self.top - _BOTTOM)


def curve_figure(
    label: str,
    places: np.ndarray,
    lines: Mapping[str, np.ndarray],
    *,
    unit: str = "",
    seams: Sequence[Sequence[int]] = (),
    top: float | None = None,
    seconds: bool = False,
    colours: Mapping[str, int] = _COLOURS,
) -> str:
    """Return the drawing; "" if there is nothing to draw.

    places (T,) are frame numbers of the source, or seconds; lines (T,) are values by name, NaN where there is none.
    `seams`, frames [start, stop) of the T, are drawn as bands. Values further than `top` from 0 are drawn at the edge.
    """
    drawn = {name: _thinned(line) for name, line in lines.items()}
    drawn = {name: line for name, line in drawn.items() if np.isfinite(line).any()}
    if not drawn:
        return ""
    values = np.concatenate([line[np.isfinite(line)] for line in drawn.values()])
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    if top is not None:
        low, high = max(low, -top), min(high, top)
    first = float(places[0])
    classes = {name: _colour(colours.get(name, 3)) for name in drawn}
    names, rows = _names(classes) if len(drawn) > 1 else ("", 0)
    top_px = _TOP + _NAME_ROW * rows
    last = float(max(places[-1], first + (1e-3 if seconds else 1)))
    axes = _Axes(first, last, low, high if high > low else 1.0, top_px)
    parts = [_band(axes, places, *seam) for seam in seams] + [_scale(axes, unit, "s" if seconds else "frame"), names]
    for name, line in drawn.items():
        # The camera's depth often equals the geometry's: where their lines coincide, both must be visible.
        under = " under" if name == "geometry" and "camera" in drawn else ""
        parts.append(_line(axes, places[:: _stride(len(places))], line, classes[name] + under))
    return _svg(axes, label, drawn, unit, parts, follows=not seconds)


def _colour(k: int) -> str:
    return f"line-{k if k == DRIVER else k % _NUM_COLOURS}"


def _names(classes: Mapping[str, str]) -> tuple[str, int]:
    """Return the lines' names in their colours, in as many rows as needed, and the height of these rows."""
    parts, x, row = [], 0.0, 0
    for name, colour in classes.items():
        room = 26 + _LETTER * len(name)
        if x + room > _WIDTH and x:
            x, row = 0.0, row + 1
        y = _TOP + 8 + _NAME_ROW * row
        parts.append(
            f'<rect class="line-key {colour}" x="{x:.0f}" y="{y - 8}" width="12" height="4" rx="2"/>'
            f'<text class="line-name {colour}" x="{x + 17:.0f}" y="{y - 2}">{text(name)}</text>'
        )
        x += room
    return "".join(parts), row + 1


def bar_figure(label: str, places: np.ndarray, values: np.ndarray, ends: tuple[float, float], *, unit: str) -> str:
    """Draw a bar of height values (N,) at each of places (N,), frame numbers between the two `ends`."""
    axes = _Axes(ends[0], max(ends[1], ends[0] + 1), 0.0, float(values.max()) or 1.0, _TOP)
    parts = [_scale(axes, unit, "frame")]
    for place, value in zip(places, values):
        x, y = axes.x(float(place)), axes.y(float(value))
        shape = f'x="{x - 2:.1f}" y="{y:.1f}" width="4" height="{_HEIGHT - _BOTTOM - y:.1f}" rx="1"'
        parts.append(f'<rect class="line-key line-1" {shape}><title>{value:.3g}{unit}</title></rect>')
    return _svg(axes, label, {"seams": values}, unit, parts, follows=True)


def _svg(
    axes: _Axes, label: str, lines: Mapping[str, np.ndarray], unit: str, parts: list[str], *, follows: bool
) -> str:
    """Return the SVG; if `follows`, a cursor marks the frame that is shown."""
    tag = f' class="follows" data-first="{axes.first:g}" data-last="{axes.last:g}"' if follows else ""
    cursor = f'<line class="cursor" x1="-9" x2="-9" y1="{axes.top}" y2="{_HEIGHT - _BOTTOM}"/>' if follows else ""
    spoken = text(f"{label}: {_in_words(lines, unit)}")
    return (
        f'<svg{tag} viewBox="0 0 {_WIDTH} {_HEIGHT}" data-left="{_LEFT}" data-right="{_WIDTH - _RIGHT}" role="img" '
        f'aria-label="{spoken}"><text class="plot-title" x="0" y="16">{text(label)}</text>'
        f"{''.join(parts)}{cursor}</svg>"
    )


def _in_words(lines: Mapping[str, np.ndarray], unit: str) -> str:
    """Describe the lines for screen readers: the median and the range of each."""
    said = []
    for name, line in lines.items():
        known = line[np.isfinite(line)]
        low, middle, high = (f"{value:.3g}{unit}" for value in (known.min(), np.median(known), known.max()))
        said.append(f"{name} {low} to {high}, median {middle}")
    return "; ".join(said)


def _band(axes: _Axes, places: np.ndarray, start: int, stop: int) -> str:
    left, right = (axes.x(float(places[min(max(i, 0), len(places) - 1)])) for i in (start, stop - 1))
    height = _HEIGHT - axes.top - _BOTTOM
    return f'<rect class="lane" x="{left:.1f}" y="{axes.top}" width="{max(right - left, 1):.1f}" height="{height}"/>'


def _scale(axes: _Axes, unit: str, along: str) -> str:
    parts = []
    step = next(s for s in STEPS if (axes.high - axes.low) / s <= 5)
    for k in range(int(np.ceil(axes.low / step - 1e-9)), int(np.floor(axes.high / step + 1e-9)) + 1):
        y = axes.y(k * step)
        parts.append(
            f'<line class="plot-tick" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
            f'<text class="plot-text" x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{k * step:.4g}{unit}</text>'
        )
    for place, anchor in ((axes.first, "start"), (axes.last, "end")):
        words = f"frame {place:.0f}" if along == "frame" else f"{place:.4g} s"
        where = f'x="{axes.x(place):.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}"'
        parts.append(f'<text class="plot-text" {where}>{words}</text>')
    return "".join(parts)


def _stride(count: int) -> int:
    return max(1, -(-count // _MOST_POINTS))


def _thinned(line: np.ndarray) -> np.ndarray:
    """Reduce a line to at most 400 points: means of neighbours, NaN if all of them are."""
    starts = np.arange(0, len(line), _stride(len(line)))
    known = np.isfinite(line)
    count = np.add.reduceat(known, starts, dtype=int)
    total = np.add.reduceat(np.where(known, line, 0.0), starts)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _line(axes: _Axes, places: np.ndarray, line: np.ndarray, colour: str) -> str:
    """Draw a line; a gap in the values is a gap in the line, and a value between two gaps is a dot."""
    known = np.flatnonzero(np.isfinite(line))
    parts = []
    for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        points = [f"{axes.x(float(places[i])):.1f},{axes.y(float(line[i])):.1f}" for i in run]
        if len(points) == 1:
            points *= 2  # with round ends, a line of no length is a dot
        parts.append(f'<polyline class="curve {colour}" points="{" ".join(points)}"/>')
    return "".join(parts)
