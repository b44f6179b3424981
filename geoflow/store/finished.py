"""Stores that earlier runs into a folder have finished: which stores a run keeps, and their rows of the index."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from geoflow.errors import StoreError
from geoflow.observe.events import iter_events
from geoflow.segments import VideoInfo
from geoflow.store.coherence import key_of, unlike_parts
from geoflow.store.concurrent_runs import worked_on_at_once
from geoflow.store.index import read_rows
from geoflow.store.opening import open_h5
from geoflow.store.paths import RunPaths
from geoflow.store.schema import SECONDS_PREFIX, SEGMENTS, WORK
from geoflow.store.work_key import describe_work
from geoflow.store.writer import totals
from geoflow.values.plain import printable


@dataclass(frozen=True)
class Taken:
    """The source and work of a finished store at the path where a video's store will be."""

    source: str
    sha256: str

    def check(self, info: VideoInfo) -> None:
        """Raise StoreError unless the store is of the same video (its path may differ): no run replaces another's
        store."""
        if not self.sha256 or self.sha256 != info.source_sha256:
            raise StoreError(
                f"{info.name} in this folder is the finished store of another video, {self.source}; "
                "name another folder for -o, rename the input, or delete that store"
            )


class Finished:
    """The finished stores in the folder of a run with `pipeline`, the JSON that every store holds."""

    def __init__(self, paths: RunPaths, pipeline: str) -> None:
        self._paths, self._pipeline = paths, pipeline

    def find(self, info: VideoInfo) -> dict[str, Any] | None:
        """Return the index row of a video whose store holds the same work, complete and coherent; None if it must be
        made.

        An older store, without the key of its work, is kept if source and settings are the same. It is not kept if the
        ledger shows that two runs worked on it at the same time, or if masks were used, since their content is not
        known.
        """
        try:
            with open_h5(self._paths.store(info.name)) as file:
                same = self._is_same(file, info) and file.attrs["status"] == "complete" and not any(unlike_parts(file))
                return self.row(info.name, file) if same else None
        except (OSError, KeyError, ValueError, TypeError):
            return None

    def row(self, name: str, file: h5py.File) -> dict[str, Any]:
        """Return the index row of a store: the row that a run wrote for exactly this work, or a row made from the
        file."""
        row = self._rows.get(name)
        if row is not None and row["status"] == "complete" and (row.get("key") or "") == key_of(file):
            return row
        return {"name": name, "path": self._paths.relative(self._paths.video(name)), **row_of(file)}

    def others(self, names: Set[str]) -> list[dict[str, Any]]:
        """Return the rows of videos that earlier runs finished and that are not in `names`, from their present
        stores."""
        rows = []
        for name, row in self._rows.items():
            if name in names or row["status"] != "complete":
                continue
            try:
                with open_h5(self._paths.store(name)) as file:
                    rows.append(self.row(name, file))
            except (OSError, KeyError) as error:
                reason = f"an earlier run finished it, but its store cannot be read any more: {error}"
                rows.append({"name": name, "source": row["source"], "status": "failed", "reason": reason, "path": ""})
        return rows

    def taken(self, sources: Mapping[str, str]) -> dict[str, Taken]:
        """Return the videos (name -> source) for which there is a store here that is of another source."""
        found = {}
        for name, source in sources.items():
            if (held := self._held(name)) is not None and held.source != printable(source):
                found[name] = held
        return found

    def _held(self, name: str) -> Taken | None:
        """Return whose store has this name, from the index, or from the file if a run was killed before it wrote the
        index."""
        row = self._rows.get(name)
        if row is not None and row["status"] == "complete":
            return Taken(row["source"], row["source_sha256"] or "")
        if not self._paths.video(name).is_file():
            return None
        with contextlib.suppress(OSError, KeyError), open_h5(self._paths.video(name)) as file:
            return Taken(str(file.attrs["source"]), str(file.attrs["source_sha256"]))
        return None

    def _is_same(self, file: h5py.File, info: VideoInfo) -> bool:
        if WORK in file.attrs:
            return bool(file.attrs[WORK] == describe_work(info, self._pipeline))
        wanted, found = json.loads(self._pipeline), json.loads(file.attrs["pipeline"])
        return (
            info.source_sha256 != ""
            and file.attrs["source_sha256"] == info.source_sha256
            and all(found.get(key) == wanted[key] for key in ("fingerprint", "reading"))
            and not info.masks_sha256
            and info.name not in self._at_once
        )

    @functools.cached_property
    def _rows(self) -> Mapping[str, dict[str, Any]]:
        with contextlib.suppress(StoreError):
            return {row["name"]: row for row in read_rows(self._paths.index)}
        return {}

    @functools.cached_property
    def _at_once(self) -> set[str]:
        with contextlib.suppress(OSError):
            return worked_on_at_once(iter_events(self._paths.events))
        return set()


def row_of(file: h5py.File) -> dict[str, Any]:
    """Return a finished store's row of the index, except name and path."""
    table, found = file[SEGMENTS][()], totals(file, file.filename)
    seconds = [float(np.nansum(table[name])) for name in table.dtype.names if name.startswith(SECONDS_PREFIX)]
    attributes = ("source", "source_sha256", "num_frames", "fps", "height", "width", "metric")
    plain = {name: getattr(value := file.attrs[name], "item", lambda value=value: value)() for name in attributes}
    incomplete = sum(status not in (b"complete", "complete") for status in table["status"])
    return {
        "status": "complete",
        "reason": "",
        **plain,
        **found,
        "incomplete_segments": incomplete,
        "seconds": sum(seconds),
    }
