"""The rows of the engine bench as a picture: for every workload a bar per engine, with its bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_WIDTH, _NAME, _BAR = 760, 130, 500  # whole picture, column of names, longest bar; the rest is for the number
_ROW, _HEAD = 22, 34
_OWN, _PEER, _FLUID, _SIM = "#2f6fb3", "#a9b4c0", "#c0392b", "#e08e0b"


def draw(rows: Sequence[dict[str, Any]]) -> str:
    """Return an SVG. Each workload has its own scale; vertical lines mark `fluid` and `sim`."""
    parts: list[str] = []
    y = 8
    for name in dict.fromkeys(row["workload"] for row in rows):
        group = [row for row in rows if row["workload"] == name]
        parts += _panel(name, group, y)
        y += _HEAD + _ROW * len(group) + 14
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" font-family="sans-serif" font-size="12">'
    )
    return head + f'<rect width="{_WIDTH}" height="{y}" fill="#fff"/>' + "".join(parts) + "</svg>\n"


def _panel(name: str, rows: list[dict[str, Any]], top: int) -> list[str]:
    longest = max([row["steady"] or 0.0 for row in rows] + [rows[0]["sim"], 1e-9])
    fluid, sim = rows[0]["fluid"], rows[0]["sim"]
    parts = [
        f'<text x="8" y="{top + 16}" font-weight="bold">{name}</text>',
        f'<text x="{_NAME}" y="{top + 16}">steady seconds; '
        f'<tspan fill="{_FLUID}">fluid {fluid:.2f}</tspan>, <tspan fill="{_SIM}">sim {sim:.2f}</tspan></text>',
    ]
    for i, row in enumerate(rows):
        y = top + _HEAD + i * _ROW
        steady = row["steady"]
        length = _BAR * (steady or 0.0) / longest
        colour = _OWN if row["engine"].startswith("geoflow") else _PEER
        parts.append(f'<text x="8" y="{y + 13}">{row["engine"]}</text>')
        parts.append(f'<rect x="{_NAME}" y="{y}" width="{length:.1f}" height="{_ROW - 6}" fill="{colour}"/>')
        label = "no result" if steady is None else f"{steady:.2f} s, makespan {row['makespan']:.1f}"
        inside = length > _BAR * 0.7
        anchor, x = ("end", _NAME + length - 6) if inside else ("start", _NAME + length + 6)
        parts.append(f'<text x="{x:.1f}" y="{y + 13}" text-anchor="{anchor}">{label}</text>')
    bottom = top + _HEAD + len(rows) * _ROW - 4
    for value, colour in ((fluid, _FLUID), (sim, _SIM)):
        x = _NAME + _BAR * value / longest
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + _HEAD - 6}" y2="{bottom}" stroke="{colour}" stroke-width="2"/>'
        )
    return parts
