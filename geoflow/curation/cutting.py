"""A part of a store as a store of its own, so that whatever reads stores can read chosen frames only."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from geoflow.errors import StoreError
from geoflow.store.opening import open_h5
from geoflow.store.schema import FRAME, QUERY, ROWS, SEGMENTS, TRACKS, WORK, Dataset, datasets, num_tracks
from geoflow.store.whole import WholeH5, whole_h5

_AT_ONCE = 32  # frames of tracks in memory


def cut_store(file: str | os.PathLike[str], frames: tuple[int, int], target: Path) -> None:
    """Write frames [start, stop) of a store as the store `target`; its frames count from 0, and world and unit stay.

    Tracks that no frame of these sees are left out. A track that was picked outside them has the first of them that
    sees it as its query. Meshes stay, as they lie in the world. The result does not state the work that it is from:
    it is for what reads it now, not to be kept among a run's stores.

    Raises StoreError for frames that the store does not have, and if the disk cannot be written.
    """
    start, stop = frames
    with open_h5(file) as source:
        count = int(source.attrs["num_frames"])
        if not 0 <= start < stop <= count:
            raise StoreError(f"{file} has frames 0 to {count - 1}; it cannot be cut from {start} to {stop - 1}")
        with whole_h5(target) as whole:
            whole.file.attrs.update({name: value for name, value in source.attrs.items() if name != WORK})
            whole.file.attrs["num_frames"] = stop - start
            seen = _seen_tracks(source, start, stop)
            for name, row in datasets().items():
                if name in source:
                    _copy(source[name], row, whole, (start, stop), seen)
            _query_again(whole.file, start, seen)
            for name in source.get("objects", {}):
                if isinstance(source["objects"][name], h5py.Group):
                    source.copy(f"objects/{name}", whole.file.require_group("objects"))
            whole.file[SEGMENTS] = _segments(source[SEGMENTS][()], start, stop)
            whole.check()


def _seen_tracks(source: h5py.File, start: int, stop: int) -> np.ndarray:
    """Return which tracks (N,) the frames see, as numbers, rising."""
    seen = np.zeros(num_tracks(source), bool)
    for i in range(start, stop if "tracks/visible" in source else start, _AT_ONCE):
        seen |= source["tracks/visible"][i : min(stop, i + _AT_ONCE)].any(0)
    return np.flatnonzero(seen)


def _copy(source: h5py.Dataset, row: Dataset, whole: WholeH5, frames: tuple[int, int], seen: np.ndarray) -> None:
    start, stop = frames
    shapes = {
        FRAME: (stop - start, *source.shape[1:]),
        ROWS: (stop - start, *source.shape[1:]),
        TRACKS: (stop - start, len(seen), *source.shape[2:]),
        QUERY: (len(seen), *source.shape[1:]),
    }
    options = {"compression": "lzf", "chunks": (1, *source.shape[1:])} if row.layout == FRAME else {}
    target = whole.file.create_dataset(
        row.name, shapes[row.layout], source.dtype, fillvalue=source.fillvalue, **options
    )
    target.attrs.update(source.attrs)
    if row.layout == QUERY:
        target[()] = source[()][seen]
    for i in range(start, stop if row.layout != QUERY else start, 1 if row.layout == FRAME else _AT_ONCE):
        values = source[i : min(stop, i + (1 if row.layout == FRAME else _AT_ONCE))]
        target[i - start : i - start + len(values)] = values[:, seen] if row.layout == TRACKS else values
        whole.check()


def _query_again(target: h5py.File, start: int, seen: np.ndarray) -> None:
    """Let the queries of tracks count from the first frame; queries of frames that are left out move to the first sight
    of their track."""
    if "tracks/query" not in target or not len(seen):
        return
    query, visible, xyz = (target[f"tracks/{name}"][()] for name in ("query", "visible", "xyz"))
    query[:, 0] -= start
    outside = ~((query[:, 0] >= 0) & (query[:, 0] < len(visible)))
    first = visible.argmax(0)
    query[outside, 0] = first[outside]
    query[outside, 1:] = xyz[first, np.arange(len(seen))][outside]
    target["tracks/query"][()] = query


def _segments(table: np.ndarray, start: int, stop: int) -> np.ndarray:
    kept = table[(table["stop"] > start) & (table["start"] < stop)].copy()
    kept["start"] = np.maximum(kept["start"], start) - start
    kept["stop"] = np.minimum(kept["stop"], stop) - start
    return kept
