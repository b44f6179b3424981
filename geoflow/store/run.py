"""Reader of a whole run's folder: index, segments, failures and the stores of its videos."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from geoflow.errors import StoreError
from geoflow.files.locations import exists
from geoflow.store.index import read_rows
from geoflow.store.mirror import records
from geoflow.store.paths import RunPaths
from geoflow.store.reader import Video, open_video

_TABLES = ("index.parquet", "segments.parquet", "run.json")


class RunVideos(Mapping[str, Video]):
    """The complete videos of a run by name; each is opened at its first use."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._paths = {row["name"]: run.paths.whole(row["path"]) for row in run.index if row["status"] == "complete"}

    def __getitem__(self, name: str) -> Video:
        return open_video(self._paths[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __repr__(self) -> str:
        return f"RunVideos({', '.join(self._paths)})"


@dataclass(frozen=True)
class Run:
    """The results of a run: `index` and `segments` are the rows of the two Parquet files, `record` is run.json."""

    paths: RunPaths
    index: list[dict[str, Any]]
    segments: list[dict[str, Any]]
    record: dict[str, Any]

    @property
    def videos(self) -> RunVideos:
        return RunVideos(self)

    @property
    def failures(self) -> dict[str, str]:
        """Return name -> reason of each failed input."""
        return {row["name"]: row["reason"] for row in self.index if row["status"] == "failed"}

    def __repr__(self) -> str:
        return f"Run({self.paths.home!r}, {len(self.videos)} complete, {len(self.failures)} failed)"


def load_run(out: str | os.PathLike[str] | RunPaths) -> Run:
    """Open the folder, or URI, that `geoflow run -o OUT` filled.

    Raises StoreError if it is not the output of a run, or the run has not finished.
    """
    with records(out, _TABLES) as paths:
        if not paths.index.is_file():
            begun = exists(str(paths.whole(paths.events.name))) if paths.remote else paths.events.is_file()
            state = "the run has not finished: resume it" if begun else "not the output of a run"
            raise StoreError(f"{paths.home} has no {paths.index.name}: {state}")
        segments = read_rows(paths.segments) if paths.segments.is_file() else []
        return Run(paths, read_rows(paths.index), segments, read_run_json(paths))


def read_run_json(paths: RunPaths) -> dict[str, Any]:
    """Return run.json; {} if there is none. Raises StoreError if it is broken."""
    if not paths.run.is_file():
        return {}
    try:
        record = json.loads(paths.run.read_text())
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {paths.run}: {error}; expected the JSON that a run wrote") from error
    if not isinstance(record, dict):
        raise StoreError(f"{paths.run} should hold a JSON object, found {type(record).__name__}")
    return record
