"""Stores that earlier runs into a folder have finished: which of them a run keeps, and what the index says of them."""

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
    """What a finished store that lies where a video's would is of."""

    source: str
    sha256: str

    def check(self, info: VideoInfo) -> None:
        """Raise StoreError unless the video is the same, only from elsewhere: no run replaces another video's store."""
        if not self.sha256 or self.sha256 != info.source_sha256:
            raise StoreError(
                f"{info.name} in this folder is the finished store of another video, {self.source}; "
                "name another folder for -o, rename the input, or delete that store"
            )


class Finished:
    """What a run that wants `pipeline`, the JSON that every store carries, finds in its folder."""

    def __init__(self, paths: RunPaths, pipeline: str) -> None:
        self._paths, self._pipeline = paths, pipeline

    def find(self, info: VideoInfo) -> dict[str, Any] | None:
        """The index row of a video whose store holds the same work, whole and of one piece; None when it is to be made.

        A store that was written before stores said what they are made of is kept when source and settings are the same,
        unless the ledger shows that two runs worked on it at once, or masks were used, of which it does not know the
        content.
        """
        try:
            with open_h5(self._paths.store(info.name)) as file:
                same = self._is_same(file, info) and file.attrs["status"] == "complete" and not any(unlike_parts(file))
                return self.row(info.name, file) if same else None
        except (OSError, KeyError, ValueError, TypeError):
            return None

    def row(self, name: str, file: h5py.File) -> dict[str, Any]:
        """The index row of a store: the one that a run wrote for this very work, else what the file tells."""
        row = self._rows.get(name)
        if row is not None and row["status"] == "complete" and (row.get("key") or "") == key_of(file):
            return row
        return {"name": name, "path": self._paths.relative(self._paths.video(name)), **row_of(file)}

    def others(self, names: Set[str]) -> list[dict[str, Any]]:
        """The rows of videos that earlier runs finished and that are not among `names`, as their stores are today."""
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
        """Of the videos of a run, name -> source, those whose store is here and of another source."""
        found = {}
        for name, source in sources.items():
            if (held := self._held(name)) is not None and held.source != printable(source):
                found[name] = held
        return found

    def _held(self, name: str) -> Taken | None:
        """Whose store has this name, by the index; by the file itself where a run was killed before it wrote that."""
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
    """What a finished store tells for its row of the index, all but its name and path."""
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
