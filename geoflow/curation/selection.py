"""Selections: the segments, or whole videos, of a run that fulfil a condition, as a list that exports take."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoflow.curation.expressions import filtered
from geoflow.errors import ConfigError, StoreError
from geoflow.store.index import read_rows
from geoflow.store.run import Run, load_run
from geoflow.store.schema import INDEX_COLUMNS, VIDEO_COLUMN
from geoflow.store.whole import write_whole
from geoflow.values.packages import package

if TYPE_CHECKING:
    import pyarrow as pa

SEGMENTS, VIDEOS = "segments", "videos"
_FROM, _TO, _KEY, _PATH = "frames_from", "frames_to", "video_key", "video_path"
_ADDED = f"{VIDEO_COLUMN}_"  # before columns of index.parquet in a list of segments

Ranges = dict[str, tuple[tuple[int, int], ...]]  # video -> ranges [from, to) of its frames, rising


@dataclass(frozen=True)
class Selection:
    """The chosen rows of a run: a table, and how many rows there were to choose from."""

    table: pa.Table
    rows: int
    kind: str  # SEGMENTS or VIDEOS

    @property
    def frames(self) -> Ranges:
        """Return the frames of each video that are chosen; ranges that meet are one."""
        return _ranges(self.table.select([VIDEO_COLUMN, _FROM, _TO]).to_pylist())


def select(out: str | os.PathLike[str] | Run, where: str | None = None, *, kind: str = SEGMENTS) -> Selection:
    """Choose the segments (or `kind` videos) of a run's complete videos for which `where` is true; all if it is None.

    The columns are those of segments.parquet, and those of index.parquet with `video_` before their name; for videos
    those of index.parquet, the name as `video`. `frames_from` and `frames_to` are the frames that a segment stores:
    those of different segments do not overlap.

    Raises ConfigError for a condition that cannot be, StoreError if `out` is not a finished run.
    """
    if kind not in (SEGMENTS, VIDEOS):
        raise ConfigError(f"--of {kind}: choose {SEGMENTS} or {VIDEOS}")
    run = out if isinstance(out, Run) else load_run(out)
    videos = {row["name"]: row for row in run.index if row["status"] == "complete"}
    rows = _segment_rows(run.segments, videos) if kind == SEGMENTS else _video_rows(videos)
    table = _as_table(rows, kind)
    return Selection(table if where is None else filtered(table, where), len(rows), kind)


def selected_frames(
    out: str | os.PathLike[str], *, where: str | None = None, chosen: str | os.PathLike[str] | None = None
) -> Ranges:
    """Return which frames of which videos of a run are chosen: video -> ranges [from, to) of its frames, rising.

    `where` is a condition on the columns of its segments, `chosen` a list that `write_selection` wrote; of both, what
    fulfils both. Without either these are all frames of all complete videos. Videos without a chosen frame are absent.

    Raises ConfigError for a condition that cannot be and if nothing is chosen; StoreError if the list is not one, or
    names stores that are gone or were made anew since.
    """
    run = load_run(out)
    found = select(run, where).frames
    if chosen is not None:
        found = _both(found, _of_list(run, chosen))
    if not found:
        asked = [f"--where {where!r}"] * (where is not None) + [f"--select {chosen}"] * (chosen is not None)
        raise ConfigError(f"nothing of {run.paths.home} is chosen by {' and '.join(asked) or 'anything: it is empty'}")
    return found


def write_selection(path: str | os.PathLike[str], selection: Selection) -> None:
    """Write a list: a Parquet file with the chosen rows. Raises ConfigError for another kind of name, StoreError."""
    target = Path(path)
    if target.suffix.lower() != ".parquet" or target.is_dir():
        raise ConfigError(f"-o {target}: name a file that ends in .parquet")
    pa, pq = (package(name, "pyarrow", f"writing {target}") for name in ("pyarrow", "pyarrow.parquet"))
    sink = pa.BufferOutputStream()
    pq.write_table(selection.table, sink)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{target} cannot be written ({error.strerror}); name another file") from None
    write_whole(target, sink.getvalue().to_pybytes())


def _segment_rows(segments: Sequence[Mapping[str, Any]], videos: Mapping[str, Mapping[str, Any]]) -> list[dict]:
    rows = []
    for k, row in enumerate(segments):
        name = row[VIDEO_COLUMN]
        if name not in videos:
            continue
        after = segments[k + 1] if k + 1 < len(segments) else {}
        stop = after["start"] if after.get(VIDEO_COLUMN) == name else row["stop"]
        of_video = {_ADDED + column: value for column, value in videos[name].items() if column != "name"}
        rows.append({**row, _FROM: row["start"], _TO: stop, **of_video})
    return rows


def _video_rows(videos: Mapping[str, Mapping[str, Any]]) -> list[dict]:
    return [
        {VIDEO_COLUMN: name, **row, _FROM: 0, _TO: row["num_frames"], _KEY: row.get("key"), _PATH: row["path"]}
        for name, row in videos.items()
    ]


def _as_table(rows: Sequence[Mapping[str, Any]], kind: str) -> pa.Table:
    """Return rows as a table; columns of the index keep their type also where all of them are null."""
    pa = package("pyarrow", "pyarrow", "choosing from the tables of a run")
    stated = {name: kind for name, (kind, _) in INDEX_COLUMNS.items()}
    names = list(dict.fromkeys(name for row in rows for name in row))
    fields = []
    for name in names:
        known = stated.get(name.removeprefix(_ADDED) if kind == SEGMENTS and name.startswith(_ADDED) else name)
        values = [row.get(name) for row in rows]
        fields.append(pa.array(values, pa.type_for_alias(known)) if known else pa.array(values, from_pandas=False))
    return pa.table(dict(zip(names, fields))) if names else pa.table({VIDEO_COLUMN: pa.array([], pa.string())})


def _of_list(run: Run, chosen: str | os.PathLike[str]) -> Ranges:
    rows, present = read_rows(chosen), {row["name"]: row for row in run.index if row["status"] == "complete"}
    needed = (VIDEO_COLUMN, _FROM, _TO, _KEY)
    for row in rows:
        if lacking := [name for name in needed if name not in row]:
            raise StoreError(f"{chosen} has no columns {', '.join(lacking)}: `geoflow select` did not write it")
        video = present.get(row[VIDEO_COLUMN])
        if video is None:
            raise StoreError(
                f"{chosen} names {row[VIDEO_COLUMN]}, and {run.paths.home} has no such video; select again"
            )
        if (video.get("key") or "") != (row[_KEY] or ""):
            raise StoreError(f"{row[VIDEO_COLUMN]} was made anew since {chosen} was written; select again")
    return _ranges(rows)


def _ranges(rows: Iterable[Mapping[str, Any]]) -> Ranges:
    found: dict[str, list[tuple[int, int]]] = {}
    for row in sorted(rows, key=lambda row: (row[VIDEO_COLUMN], row[_FROM])):
        held, (start, stop) = found.setdefault(row[VIDEO_COLUMN], []), (int(row[_FROM]), int(row[_TO]))
        if held and start <= held[-1][1]:
            held[-1] = held[-1][0], max(stop, held[-1][1])
        else:
            held.append((start, stop))
    return {name: tuple(ranges) for name, ranges in found.items()}


def _both(one: Ranges, other: Ranges) -> Ranges:
    found = {}
    for name in one.keys() & other.keys():
        shared = [(max(a, c), min(b, d)) for a, b in one[name] for c, d in other[name]]
        if kept := tuple((start, stop) for start, stop in sorted(shared) if start < stop):
            found[name] = kept
    return found
