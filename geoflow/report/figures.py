"""Drawings of the camera's path as SVG, from above and from the side."""

from __future__ import annotations

import numpy as np

_WIDTH, _HEIGHT = 360, 270
_LEFT, _TOP, _BOTTOM = 26, 44, 44  # margins; the label sits above, the scale bar below
_LOOKS = 14  # viewing directions drawn along a path
_MOST_POINTS = 600  # of a path; more could not be distinguished at this size


def path_figure(
    centers: np.ndarray, looks: np.ndarray, axes: tuple[int, int], *, flip: bool, unit: str, label: str
) -> str:
    """Draw a camera path seen along one axis.

    centers (T, 3) and viewing directions looks (T, 3) are in the world, NaN if the frame has no pose. `axes` are the
    world axes that run to the right and upwards; `flip` turns the second one over (world y points down). `label` and
    `unit` are plain text of our own.
    """
    stride = max(1, len(centers) // _MOST_POINTS)
    xy = centers[::stride, axes].astype(np.float64) * [1, -1 if flip else 1]
    direction = looks[::stride, axes].astype(np.float64) * [1, -1 if flip else 1]
    known = np.isfinite(xy).all(1)
    low, high = xy[known].min(0), xy[known].max(0)
    # Both axes have one scale, so that the path's shape is true.
    room = np.array([_WIDTH - 2 * _LEFT, _HEIGHT - _TOP - _BOTTOM])
    scale = float(min((room / np.maximum(high - low, 1e-9)).min(), 1e6))
    middle = (low + high) / 2

    def place(point: np.ndarray) -> tuple[float, float]:
        x, y = (point - middle) * scale
        return _WIDTH / 2 + x, (_HEIGHT + _TOP - _BOTTOM) / 2 - y

    parts = [f'<rect class="plot-frame" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" rx="6"/>']
    shown = np.flatnonzero(known)
    for i in shown[:: max(1, len(shown) // _LOOKS)]:
        x, y = place(xy[i])
        parts.append(
            f'<line class="plot-look" x1="{x:.1f}" y1="{y:.1f}" '
            f'x2="{x + 16 * direction[i, 0]:.1f}" y2="{y - 16 * direction[i, 1]:.1f}"/>'
        )
    for run in np.split(shown, np.flatnonzero(np.diff(shown) > 1) + 1):  # a gap in the poses is a gap in the line
        points = " ".join("{:.1f},{:.1f}".format(*place(xy[i])) for i in run)
        parts.append(f'<polyline class="plot-path" points="{points}"/>')
    for i, kind in ((shown[0], "start"), (shown[-1], "end")):
        x, y = place(xy[i])
        parts.append(f'<circle class="plot-{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
    parts.append(_scale_bar(scale, unit))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f'{"".join(parts)}<text class="plot-text" x="10" y="20">{label}</text></svg>'
    )


def _scale_bar(scale: float, unit: str) -> str:
    """Draw a scale bar of a round length, at most 110 px long."""
    longest = 110 / scale
    power = 10.0 ** np.floor(np.log10(longest))
    length = max(step for step in (power, 2 * power, 5 * power) if step <= longest * 1.0001)
    right, y = _WIDTH - 14, _HEIGHT - 14
    left = right - length * scale
    return (
        f'<line class="plot-scale" x1="{left:.1f}" y1="{y}" x2="{right}" y2="{y}"/>'
        f'<text class="plot-text" x="{right}" y="{y - 6}" text-anchor="end">{length:.4g} {unit}</text>'
    )
