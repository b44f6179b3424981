"""What a figure does over the frames of a video, as SVG: a line for each branch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geoflow.report.markup import text

_WIDTH, _HEIGHT = 520, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 44, 22
_COLOURS = {"prior": 0, "geometry": 1, "camera": 2}  # classes `curve-0` ... of the style sheet
_MOST_POINTS = 400  # of a line; more cannot be told apart at this size


@dataclass(frozen=True)
class _Axes:
    """From frame numbers and values to places in the drawing."""

    first: float
    last: float
    low: float
    high: float

    def x(self, frame: float) -> float:
        return _LEFT + (frame - self.first) / (self.last - self.first) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - float(np.clip(share, 0, 1)) * (_HEIGHT - _TOP - _BOTTOM)


def curve_figure(
    label: str,
    frames: np.ndarray,
    lines: Mapping[str, np.ndarray],
    *,
    unit: str = "",
    seams: Sequence[Sequence[int]] = (),
    top: float | None = None,
) -> str:
    """The drawing; "" when there is nothing to draw.

    frames (T,) are numbers of the source; lines (T,) are values by branch, NaN where there is none. `seams`, frames
    [start, stop) of the T, are drawn as bands, and what is further than `top` from 0 at the edge.
    """
    drawn = {name: _thinned(line) for name, line in lines.items()}
    known = [line[np.isfinite(line)] for line in drawn.values()]
    values = np.concatenate([np.zeros(0), *known])
    if not len(values):
        return ""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    if top is not None:
        low, high = max(low, -top), min(high, top)
    first = float(frames[0])
    axes = _Axes(first, float(max(frames[-1], first + 1)), low, high if high > low else 1.0)
    parts = [_band(axes, frames, *seam) for seam in seams] + [_scale(axes, unit)]
    x = float(_LEFT)
    for name, line in drawn.items():
        k = _COLOURS.get(name, len(_COLOURS))
        parts.append(_line(axes, frames[:: _stride(len(frames))], line, k))
        if len(lines) > 1:
            parts.append(f'<text class="curve-name curve-name-{k}" x="{x:.0f}" y="36">{text(name)}</text>')
        x += 14 + 7.2 * len(name)
    parts.append(f'<text class="plot-text" x="{_LEFT}" y="16">{text(label)}</text>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(label)}">{"".join(parts)}</svg>'


def _band(axes: _Axes, frames: np.ndarray, start: int, stop: int) -> str:
    left, right = (axes.x(float(frames[min(max(i, 0), len(frames) - 1)])) for i in (start, stop - 1))
    height = _HEIGHT - _TOP - _BOTTOM
    return f'<rect class="lane" x="{left:.1f}" y="{_TOP}" width="{max(right - left, 1):.1f}" height="{height}"/>'


def _scale(axes: _Axes, unit: str) -> str:
    parts = []
    room = axes.high - axes.low
    step = next(s for s in (b * 10.0**p for p in range(-9, 10) for b in (1, 2, 5)) if room / s <= 5)
    for k in range(int(np.ceil(axes.low / step - 1e-9)), int(np.floor(axes.high / step + 1e-9)) + 1):
        y = axes.y(k * step)
        parts.append(
            f'<line class="plot-tick" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
            f'<text class="plot-text" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{k * step:.4g}{unit}</text>'
        )
    for frame, anchor in ((axes.first, "start"), (axes.last, "end")):
        x, words = axes.x(frame), f"frame {frame:.0f}"
        parts.append(f'<text class="plot-text" x="{x:.1f}" y="{_HEIGHT - 5}" text-anchor="{anchor}">{words}</text>')
    return "".join(parts)


def _stride(count: int) -> int:
    return max(1, -(-count // _MOST_POINTS))


def _thinned(line: np.ndarray) -> np.ndarray:
    """At most 400 points: means of neighbours, NaN where all of them are."""
    starts = np.arange(0, len(line), _stride(len(line)))
    known = np.isfinite(line)
    count = np.add.reduceat(known, starts, dtype=int)
    total = np.add.reduceat(np.where(known, line, 0.0), starts)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _line(axes: _Axes, frames: np.ndarray, line: np.ndarray, k: int) -> str:
    """A line of colour k; a gap in the values is a gap in the line, and a value between two gaps a dot."""
    known = np.flatnonzero(np.isfinite(line))
    parts = []
    for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        places = [f"{axes.x(float(frames[i])):.1f},{axes.y(float(line[i])):.1f}" for i in run]
        if len(places) == 1:
            places *= 2  # with round ends, a line of no length is a dot
        if places:
            parts.append(f'<polyline class="curve curve-{k}" points="{" ".join(places)}"/>')
    return "".join(parts)
