"""Small pieces of HTML. All text from outside goes through `text` before it reaches the page."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from geoflow.values.durations import in_words

MISSING = "—"


def text(value: object) -> str:
    """Escape a value as HTML text, also safe inside a quoted attribute."""
    return html.escape(str(value), quote=True)


def number(value: Any, digits: int = 0, unit: str = "") -> str:
    """Write a number as text; an em dash if it is missing or not finite."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:,.{digits}f}{unit}"


def duration(value: Any) -> str:
    """Write seconds in words; an em dash for None."""
    return MISSING if value is None or not math.isfinite(value) else in_words(float(value))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], classes: Sequence[str] = (), label: str = "") -> str:
    """Make a table of cells that are HTML already, in a box that scrolls; `classes` holds one class per column."""
    kinds = list(classes) + [""] * (len(head) - len(classes))

    def row(cells: Sequence[str], open_tag: str, close_tag: str) -> str:
        return "<tr>" + "".join(f"<{open_tag}{_class(k)}>{c}</{close_tag}>" for c, k in zip(cells, kinds)) + "</tr>"

    body = "".join(row(cells, "td", "td") for cells in rows)
    heading = row(head, 'th scope="col"', "th")
    return scroll(f"<table><thead>{heading}</thead><tbody>{body}</tbody></table>", label)


def scroll(inner: str, label: str) -> str:
    """Make a box that scrolls sideways on a narrow page, also with the keyboard."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{text(label or "table")}">{inner}</div>'


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def details(title: str, value: Any) -> str:
    """Make a folded block with a value as indented JSON."""
    dump = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return f'<details><summary>{text(title)}</summary><pre tabindex="0">{text(dump)}</pre></details>'


def facts(rows: Iterable[tuple[str, str, str]]) -> str:
    """Make a row of large figures: (value, what it is, class) each; the first two are HTML already."""
    items = "".join(f"<div{_class(kind)}><dt>{name}</dt><dd>{value}</dd></div>" for value, name, kind in rows)
    return f'<dl class="facts">{items}</dl>'


def bars(values: dict[str, float]) -> str:
    """Make horizontal bars of seconds, the longest first."""
    longest = max(values.values(), default=0) or 1
    rows = [
        f'<span>{text(name)}</span><i style="width:{100 * value / longest:.1f}%"></i><span>{duration(value)}</span>'
        for name, value in sorted(values.items(), key=lambda item: -item[1])
    ]
    return f'<div class="bars">{"".join(rows)}</div>'


def embedded(identity: str, value: Any) -> str:
    """Embed a value for the page's scripts, as JSON that no text inside can end early."""
    dump = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{identity}">{dump}</script>'


def page(title: str, body: str, scripts: Sequence[str] = ()) -> str:
    """Make the whole document, with its style and its scripts (names of files beside this one) inside.

    Its content security policy allows no other script and no request, whatever a name contains.
    """
    style, codes = _asset("style.css"), [_asset(name) for name in scripts]
    allowed = " ".join(f"'sha256-{_digest(code)}'" for code in codes) or "'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{text(title)}</title><link rel="icon" href="data:,"><style>{style}</style></head>'
        f'<body><a class="skip" href="#main">Skip to the content</a><main id="main">{body}</main>'
        + "".join(f"<script>{code}</script>" for code in codes)
        + "</body></html>\n"
    )


@lru_cache
def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


@lru_cache
def _digest(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii")
