"""A scan's result: a table on the console, plain values for JSON, and a Parquet file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geoflow.errors import ConfigError, StoreError
from geoflow.scanning.fitness import MEANING, ScanParams
from geoflow.scanning.scan import ScannedVideo
from geoflow.store.whole import write_whole
from geoflow.values.durations import in_words
from geoflow.values.packages import package

_TEXTS = "list<string>"
COLUMNS = {  # of scan.parquet: name -> kind; null for what could not be measured
    "name": "string",
    "path": "string",
    "verdict": "string",
    "reason": "string",
    "findings": _TEXTS,
    "unfit": _TEXTS,
    "details": _TEXTS,
    "duplicate_of": "string",
    "duration_s": "float64",
    "frames": "int64",
    "fps": "float64",
    "width": "int64",
    "height": "int64",
    "camera": "string",
    "cuts_s": "list<float64>",
    "unsearched": "int64",
    "blur": "float64",
    "brightness": "float64",
    "overexposed": "float64",
    "bare": "float64",
    "hashes": _TEXTS,
    "notes": _TEXTS,
    "frames_read": "int64",
}


def as_values(videos: Sequence[ScannedVideo], params: ScanParams) -> dict[str, Any]:
    """Return a scan as plain values: its videos, how many are fit, what the findings mean, and the parameters."""
    rows = [{name: _finite(value) for name, value in video.row().items()} for video in videos]
    unfit = sum(video.verdict == "unfit" for video in videos)
    kinds = {finding.kind for video in videos for finding in video.findings}
    meaning = {kind: said for kind, said in MEANING.items() if kind in kinds}
    return {"videos": rows, "fit": len(rows) - unfit, "unfit": unfit, "meaning": meaning, "params": asdict(params)}


def _finite(value: Any) -> Any:
    """Return None for a number that is none: JSON has no NaN."""
    return None if isinstance(value, float) and value != value else value


def render_scan(videos: Sequence[ScannedVideo]) -> Any:
    """Return the table as rich shows it, a line for each finding, and what the findings mean."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("video", box=box.SIMPLE)
    for title in ("plays", "size", "camera", "cuts", "blur", "bright", "verdict"):
        table.add_column(title, justify="left" if title in ("camera", "verdict") else "right")
    table.columns[0].overflow = "fold"
    lines, colours = [], {"fit": "green", "unfit": "red"}
    for video in videos:
        table.add_row(Text(video.name), *_cells(video), Text(video.verdict, style=colours[video.verdict]))
        for finding in video.findings:
            style = "red" if finding.kind in video.unfit else "yellow"
            lines.append(Text(f"{video.name} is {_predicate(finding.kind)}: {finding.measured}", style=style))
    kinds = {finding.kind for video in videos for finding in video.findings}
    meaning = [Text(f"{kind}: {said}", style="dim") for kind, said in MEANING.items() if kind in kinds]
    unfit = sum(video.verdict == "unfit" for video in videos)
    return Group(table, *lines, *meaning, Text(f"{len(videos) - unfit} fit, {unfit} unfit"))


def _predicate(kind: str) -> str:
    return {"duplicate": "a duplicate", "cuts": "cut", "short": "too short"}.get(kind, kind)


def _cells(video: ScannedVideo) -> tuple[str, ...]:
    info, seen = video.info, video.measured
    if info is None or seen is None:
        return ("", "", "", "", "", "")
    row = video.row()
    cuts = f"{len(seen.cuts_s)}{'+' if seen.unsearched else ''}"
    size = f"{info.source_width}x{info.source_height}"
    return in_words(seen.duration_s), size, seen.camera, cuts, _number(row["blur"]), _number(row["brightness"])


def _number(value: float) -> str:
    return f"{value:.2f}" if value == value else ""


def write_scan(path: str | os.PathLike[str], videos: Sequence[ScannedVideo]) -> None:
    """Write scan.parquet, a row per input; the column `path` makes it a manifest that `run` takes.

    Raises ConfigError for a name that is not a Parquet file's, StoreError if the disk cannot be written.
    """
    path = checked_name(path)
    pa, pq = (package(name, "pyarrow", f"writing {path}") for name in ("pyarrow", "pyarrow.parquet"))
    kinds = {"list<string>": pa.list_(pa.string()), "list<float64>": pa.list_(pa.float64())}
    schema = pa.schema([(name, kinds.get(kind) or pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    rows = [{name: _finite(value) for name, value in video.row().items()} for video in videos]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror}); name another file") from None
    write_whole(path, sink.getvalue().to_pybytes())


def checked_name(path: str | os.PathLike[str]) -> Path:
    """Return the path of a Parquet file to be written. Raises ConfigError if its name is not one's."""
    found = Path(path)
    if found.suffix.lower() != ".parquet" or found.is_dir():
        raise ConfigError(f"-o {found}: name a file that ends in .parquet")
    return found
