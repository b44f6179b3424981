"""Pictures for the page: small JPEGs as data URIs, and the legend of the colours of depth."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from geoflow.store.depth_colours import Ends, colour_depth, turbo_gradient

_WIDEST = 420  # px; two dozen frames of four pictures each must stay light
_TICK_ROOM = 0.09  # of the legend's length, for one number
_END_ROOM = 0.16  # of the legend's length, for a number at an end
_ROUND = [base * 10.0**power for power in range(-6, 7) for base in (1, 1.5, 2, 3, 4, 5, 7)]


def data_uri(rgb: np.ndarray, widest: int = _WIDEST) -> str:
    """Encode an RGB picture (H, W, 3) uint8 as a JPEG data URI, at most `widest` px wide."""
    bgr = cv2.cvtColor(_shrunk(np.ascontiguousarray(rgb), widest, cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 80])
    if not done:
        raise ValueError(f"a picture of shape {rgb.shape} could not be encoded as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")


def depth_uri(depth: np.ndarray, ends: Ends, widest: int = _WIDEST) -> str:
    """Colour depth (H, W), 0 where invalid, as a `data_uri`; it is shrunk first, so that no depths are mixed."""
    return data_uri(colour_depth(_shrunk(depth, widest, cv2.INTER_NEAREST), ends), widest)


def _shrunk(picture: np.ndarray, widest: int, how: int) -> np.ndarray:
    height, width = picture.shape[:2]
    if width <= widest:
        return picture
    return cv2.resize(picture, (widest, max(1, round(height * widest / width))), interpolation=how)


def legend_ticks(ends: Ends) -> list[tuple[float, float]]:
    """Return round depths between the ends, and their places along the colours, 0 far to 1 near; no two too close.

    >>> [(depth, round(place, 2)) for depth, place in legend_ticks((0.25, 1.0))]
    [(1.0, 1.0), (1.5, 0.56), (2.0, 0.33), (3.0, 0.11), (4.0, 0.0)]
    """
    low, high = ends
    kept: list[tuple[float, float]] = []
    for depth in _ROUND:
        place = (1 / depth - low) / (high - low)
        if -1e-6 <= place <= 1 + 1e-6 and all(abs(place - other) >= _TICK_ROOM for _, other in kept):
            kept.append((depth, min(max(place, 0.0), 1.0)))
    return kept


def depth_legend(ends: Ends | None, unit: str) -> str:
    """Return the colours with depths beside them (no numbers without `ends`).

    Depths beyond an end have the colour of this end.
    """
    if ends is None:
        return _legend("depth z", "colours from far, blue, to near, red", _ends("far", "near"))
    far, near = f"{1 / ends[0]:.3g}" if ends[0] > 0 else "∞", f"{1 / ends[1]:.3g}"
    ticks = "".join(
        f'<span style="left:{100 * place:.1f}%">{depth:g}</span>'
        for depth, place in legend_ticks(ends)
        if _END_ROOM < place < 1 - _END_ROOM
    )
    label = f"colours from {far} {unit}, blue, to {near} {unit}, red"
    return _legend(f"depth z, {unit}", label, _ends(f"≥ {far}", f"≤ {near}") + ticks)


def _ends(far: str, near: str) -> str:
    return f'<span class="far">{far}</span><span class="near">{near}</span>'


def _legend(name: str, label: str, ticks: str) -> str:
    return (
        f'<div class="legend"><div class="legend-name">{name}</div>'
        f'<div class="ramp" role="img" aria-label="{label}"><i style="background:{turbo_gradient()}"></i>{ticks}</div>'
        '<div class="legend-none"><i></i>no depth</div></div>'
    )
