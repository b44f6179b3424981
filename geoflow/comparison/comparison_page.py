"""The comparison as one HTML page without other files: tables, and the depth of both at the same frames."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.comparison.side_by_side import alone, held_tables, score_tables, shown, statistics
from geoflow.report.markup import page, scroll, text
from geoflow.report.pictures import data_uri, depth_legend, depth_uri
from geoflow.report.samples import depths_of, read_samples, sampled
from geoflow.report.score_section import figures_table
from geoflow.store.depth_colours import inverse_range
from geoflow.store.opening import copied
from geoflow.store.reader import Video, open_video
from geoflow.store.whole import write_whole

if TYPE_CHECKING:
    from geoflow.comparison.found import Comparison, Pair, RunComparison

_FRAMES = 6  # shown of each video
_MANY, _FEW_FRAMES = 12, 3  # of runs with more videos than this, fewer: a page must still load
_ORDER = ("geometry", "camera", "prior")  # the branch shown: the first that both hold
_WIDEST = 320  # px of a picture
_WRAPPED = "white-space:normal;overflow-wrap:anywhere;min-width:9em"  # paths and checksums are long


def write_page(found: Comparison | RunComparison, body: str, path: str | os.PathLike[str]) -> Path:
    """Write the page with the sections `body`. Raises StoreError if the disk cannot be written."""
    target = Path(path)
    head = f'<h1>Side by side</h1><p class="soft">A: {text(found.a)}<br>B: {text(found.b)}</p>'
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, page("GeoFlow: side by side", head + body).encode("utf-8", errors="replace"))
    return target


def run_html(found: RunComparison) -> str:
    """Return a heading and the sections of each video. Raises StoreError if a store is gone."""
    frames = _FRAMES if len(found.videos) <= _MANY else _FEW_FRAMES
    lines = "".join(f'<p class="bad">{text(line)}</p>' for line in alone(found))
    return lines + "".join(f"<h2>{text(name)}</h2>{store_html(row, frames)}" for name, row in found.videos.items())


def store_html(found: Comparison, frames: int = _FRAMES) -> str:
    """Return the sections on two stores, with this many frames. Raises StoreError if a store is gone."""
    settings = _pairs("settings that differ", found.settings) if found.settings else "<p>No setting differs.</p>"
    held = [] if found.between is None else held_tables(found.between)
    tables = "".join(
        f'<div style="min-width:0"><h3>{text(title)}</h3>{figures_table(rows, columns)}</div>'
        for title, rows, columns in [*score_tables(found), *held]
    )
    notes = "".join(f'<p class="soft">{text(note)}</p>' for note in found.notes)
    return (
        f"<section>{notes}{settings}</section><section>{_pictures(found, frames)}</section>"
        f'<section><div class="tables">{tables}</div></section>'
        f"<section>{_pairs('what they hold', statistics(found))}</section>"
    )


def _pairs(title: str, pairs: Mapping[str, Pair]) -> str:
    body = "".join(
        f'<tr><th scope="row">{text(name)}</th>{_cell(a, a != b)}{_cell(b, a != b)}</tr>'
        for name, (a, b) in pairs.items()
    )
    head = '<tr><td></td><th scope="col">A</th><th scope="col">B</th></tr>'
    return f"<h3>{text(title)}</h3>" + scroll(f"<table><thead>{head}</thead><tbody>{body}</tbody></table>", title)


def _cell(value: Any, differs: bool) -> str:
    written = text(shown(value))
    return f'<td style="{_WRAPPED}">{f"<b>{written}</b>" if differs else written}</td>'


def _pictures(found: Comparison, frames: int) -> str:
    """Return the depth of both at the same source frames, A's at the scale of B, in one range of colours."""
    with copied(found.a) as path_a, copied(found.b) as path_b, open_video(path_a) as a, open_video(path_b) as b:
        branch = next((name for name in _ORDER if name in depths_of(a) and name in depths_of(b)), "")
        common = np.intersect1d(a.frame_index, b.frame_index)
        if not branch or not len(common):
            return '<p class="soft">No pictures: the two share no frame, or no kind of depth.</p>'
        chosen = common[sampled(len(common), frames)]
        factor = found.between.depth[branch].scale if found.between and branch in found.between.depth else 1.0
        factor = factor if np.isfinite(factor) else 1.0
        rows = list(_rows(a, b, chosen, branch, factor))
        ends = inverse_range([depth[::4, ::4] for _, _, *maps in rows for depth in maps])
        unit = "m" if b.metric else "scene units of B"
        said = "" if factor == 1 else f", A's times {factor:.4g} (the ratio of the two)"
        cells = "".join(
            f'<tr><th scope="row">{source}</th>'
            f"<td>{'' if rgb is None else _image(data_uri(rgb, _WIDEST), f'frame {source}')}</td>"
            f"<td>{_image(depth_uri(first, ends, _WIDEST), f'depth of A, frame {source}')}</td>"
            f"<td>{_image(depth_uri(second, ends, _WIDEST), f'depth of B, frame {source}')}</td></tr>"
            for source, rgb, first, second in rows
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("frame", "source", "A", "B"))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>"
    return f"<h3>depth of the {branch}{text(said)}</h3>{depth_legend(ends, unit)}{scroll(table, 'depth of both')}"


def _rows(
    a: Video, b: Video, chosen: np.ndarray, branch: str, factor: float
) -> Iterator[tuple[int, np.ndarray | None, np.ndarray, np.ndarray]]:
    """Yield source frame, its picture or None, and the depth of A, at the scale of B, and of B."""
    frames = [np.searchsorted(video.frame_index, chosen) for video in (a, b)]
    for sample, j, source in zip(read_samples(a, frames[0]), frames[1], chosen):
        own = depths_of(a)[branch][sample.i]  # not the sample's: its prior has another scale
        yield int(source), sample.rgb, own * np.float32(factor), depths_of(b)[branch][int(j)]


def _image(uri: str, words: str) -> str:
    return f'<img src="{uri}" alt="{text(words)}" width="{_WIDEST}">'
