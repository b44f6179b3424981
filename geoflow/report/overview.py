"""The list of all videos of a run: failures first; it can be sorted by any column and searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geoflow.report import markup
from geoflow.report.markup import number, text

_SEARCH_FROM = 10  # videos
_COLUMNS = (  # heading, class
    ("video", ""),
    ("state", ""),
    ("frames", "number"),
    ("length", "number"),
    ("size", "number"),
    ("segments", "number"),
    ("posed", "number"),
    ("depth", "number"),
    ("camera", ""),
    ("work", "number"),
)


def totals(rows: Sequence[Mapping[str, Any]], seconds: float) -> str:
    """Return the figures of the whole run; `seconds` is the time of the latest run, 0 if unknown."""
    complete = [row for row in rows if row["status"] == "complete"]
    failed = len(rows) - len(complete)
    frames, posed = (sum(row.get(key) or 0 for row in complete) for key in ("num_frames", "frames_posed"))
    length = sum(_length(row) or 0.0 for row in complete)
    shown = [
        (number(len(complete)), "complete", "good"),
        (number(failed), "failed", "bad") if failed else None,
        (number(frames), "frames", ""),
        (markup.duration(length), "of video", ""),
        (number(100 * posed / frames, 0, " %"), "of frames with a pose", "") if frames else None,
        (markup.duration(sum(row.get("seconds") or 0.0 for row in complete)), "of work", ""),
        (markup.duration(seconds), "from beginning to end", "") if seconds else None,
    ]
    return markup.facts(row for row in shown if row)


def video_table(
    rows: Sequence[Mapping[str, Any]],
    links: Mapping[str, str],
    thumbnails: Mapping[str, tuple[str, ...]],
    troubles: Mapping[str, str],
) -> str:
    """Return a row per input.

    By name: `links` to its page, `thumbnails` as data URIs, `troubles` are errors when its store was read.
    """
    ordered = sorted(rows, key=lambda row: (row["status"] == "complete", not troubles.get(row["name"])))
    body = "".join(_row(k, row, links, thumbnails, troubles) for k, row in enumerate(ordered))
    heads = "".join(
        f'<th scope="col"{f" class={kind}" if kind else ""}><button type="button">{name}</button></th>'
        for name, kind in _COLUMNS
    )
    search = (
        '<p class="search scripted"><label>Search <input type="search" placeholder="name, state, reason"></label>'
        "<output></output></p>"
        if len(rows) >= _SEARCH_FROM
        else ""
    )
    table = f'<table class="videos"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
    return f'<section id="videos"><h2>Videos</h2>{search}{markup.scroll(table, "videos")}</section>'


def _row(
    order: int,
    row: Mapping[str, Any],
    links: Mapping[str, str],
    thumbnails: Mapping[str, tuple[str, ...]],
    troubles: Mapping[str, str],
) -> str:
    name, good = row["name"], row["status"] == "complete"
    title = f'<a href="{links[name]}">{text(name)}</a>' if name in links else text(name)
    pictures = "".join(f'<img src="{uri}" alt="">' for uri in thumbnails.get(name, ()))
    thumbs = f'<span class="thumbs">{pictures}</span>' if pictures else ""
    incomplete = row.get("incomplete_segments") or 0
    state = f'<span class="{"good" if good else "bad"}">{text(row["status"])}</span>'
    state += f' <span class="warn">{incomplete} incomplete</span>' if incomplete else ""
    said = row.get("recovered") or ""
    kind = "warn" if row.get("lacking") else "soft"
    recovered = f'<div class="{kind} recovered">{text(said)}</div>' if said else ""
    cells = [
        _cell("", name, f'<span class="named">{thumbs}<b>{title}</b></span>{recovered}'),
        _cell("", f"{int(good)}{incomplete:09d}", state),
    ]
    if good and name not in troubles:
        kind = ""
        cells += [_cell(kind, key, shown) for (_, kind), (key, shown) in zip(_COLUMNS[2:], _figures(row))]
    else:
        kind = ' class="failed-row"'
        reason = troubles[name] if good else row["reason"] or "no reason recorded"
        source = f'<div class="soft">{text(row["source"])}</div>' if row["source"] != name else ""
        why = ("its store cannot be shown: " if good else "") + reason
        cells.append(f'<td class="why" colspan="{len(_COLUMNS) - 2}"><div class="bad">{text(why)}</div>{source}</td>')
    return f'<tr data-order="{order}"{kind}>{"".join(cells)}</tr>'


def _figures(row: Mapping[str, Any]) -> list[tuple[Any, str]]:
    """Return for each further column its sort key and its text."""
    width, height, coverage, posed = (row.get(key) for key in ("width", "height", "geometry_coverage", "frames_posed"))
    share = 100 * posed / row["num_frames"] if posed is not None and row.get("num_frames") else None
    depth = None if coverage is None else 100 * coverage
    length = _length(row)
    return [
        (row.get("num_frames"), number(row.get("num_frames"))),
        (length, markup.duration(length)),
        ((width or 0) * (height or 0), f"{width} by {height}" if width else markup.MISSING),
        (row.get("segments"), number(row.get("segments"))),
        (share, number(share, 0, " %")),
        (depth, number(depth, 0, " %")),
        (row.get("motion"), text(row.get("motion") or markup.MISSING)),
        (row.get("seconds"), markup.duration(row.get("seconds"))),
    ]


def _cell(kind: str, key: Any, shown: str) -> str:
    """Make a cell; `key` is its sort key, and a cell without a key comes last."""
    attributes = f' class="{kind}"' if kind else ""
    if key is not None and key == key:
        attributes += f' data-key="{text(f"{key:.6g}" if isinstance(key, float) else key)}"'
    return f"<td{attributes}>{shown}</td>"


def _length(row: Mapping[str, Any]) -> float | None:
    """Return the video's length in seconds."""
    return row["num_frames"] / row["fps"] if row.get("num_frames") and row.get("fps") else None
