"""Small pieces of HTML. Whatever came from outside goes through `text` before it reaches the page."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def text(value: object) -> str:
    """A value as HTML text, also safe inside a quoted attribute."""
    return html.escape(str(value), quote=True)


def number(value: Any, digits: int = 0, unit: str = "") -> str:
    """A number as text; an em dash for one that is missing or not finite."""
    if value is None or not math.isfinite(value):
        return "—"
    return f"{value:,.{digits}f}{unit}"


def seconds(value: float) -> str:
    """A duration in the unit people use for it.

    >>> seconds(4.25), seconds(75), seconds(7300)
    ('4.2 s', '1 min 15 s', '2 h 2 min')
    """
    if value < 60:
        return f"{value:.1f} s"
    if value < 3600:
        return f"{value // 60:.0f} min {value % 60:.0f} s"
    return f"{value // 3600:.0f} h {value % 3600 / 60:.0f} min"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], classes: Sequence[str] = ()) -> str:
    """A table of cells that are HTML already; `classes` holds one class per column."""
    kinds = list(classes) + [""] * (len(head) - len(classes))

    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}{_class(k)}>{cell}</{tag}>" for cell, k in zip(cells, kinds)) + "</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f'<div class="scroll"><table><thead>{row(head, "th")}</thead><tbody>{body}</tbody></table></div>'


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def details(title: str, value: Any) -> str:
    """A folded block with a value as indented JSON."""
    dump = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return f"<details><summary>{text(title)}</summary><pre>{text(dump)}</pre></details>"


def bars(values: dict[str, float]) -> str:
    """Horizontal bars of seconds, longest first."""
    longest = max(values.values(), default=0) or 1
    rows = [
        f'<span>{text(name)}</span><i style="width:{100 * value / longest:.1f}%"></i><span>{seconds(value)}</span>'
        for name, value in sorted(values.items(), key=lambda item: -item[1])
    ]
    return f'<div class="bars">{"".join(rows)}</div>'


def page(title: str, body: str) -> str:
    """The whole document, its style inside it."""
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{style}</style></head><body><main>{body}</main></body></html>\n"
    )
