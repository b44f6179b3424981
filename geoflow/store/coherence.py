"""Coherence checks: all parts of a store are from the same work, and this work is the one that the store names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.store.schema import PARTS, SEGMENTS, WORK
from geoflow.store.work_key import reading_of, work_key

if TYPE_CHECKING:
    import h5py

_AGAIN = "compute the video again with --fresh"
_SAID_TWICE = ("source_sha256", "num_frames", "height", "width", "fps")  # in the file's attributes as well
_IN_ROWS = ("source_sha256", "num_frames", "height", "width")  # of the index


def unlike_parts(file: h5py.File) -> Iterator[str]:
    """Yield one line for each sign that a store holds something else than it states.

    Files of earlier versions lack the keys of their parts: for them only the cuts between segments can be checked.
    """
    table = file[SEGMENTS]
    yield from _cuts(table, _stamp(file))
    if WORK not in file.attrs:
        return
    work = str(file.attrs[WORK])
    parts = _json(table.attrs.get(PARTS, ""))
    if (own := parts.get(work_key(work), 0)) != len(table):
        yield f"{len(table) - own} of {len(table)} segments are parts of other work than the file states; {_AGAIN}"
    yield from _contradictions(file, work)


def unlike_row(file: h5py.File, row: Mapping[str, Any], at_once: Set[str]) -> Iterator[str]:
    """Yield one line for each sign that a row of the index and its store are not from the same run.

    `at_once` holds the videos that two runs worked on at the same time.
    """
    if row.get("key") and key_of(file) != row["key"]:
        yield "the index names other work than the file holds: a later run was killed; run again with --resume"
    elif wrong := [name for name in _IN_ROWS if row.get(name) is not None and row[name] != file.attrs[name]]:
        yield f"the index has another {', '.join(wrong)} than the file; run again with --resume"
    if row["name"] in at_once and WORK not in file.attrs:
        yield f"two runs worked on it at the same time, and the file does not say which run made which frames; {_AGAIN}"


def key_of(file: h5py.File) -> str:
    """Return the key of the work that a finished store holds; "" if the store is older than such keys."""
    return work_key(str(file.attrs[WORK])) if WORK in file.attrs else ""


def reads_everything(file: h5py.File) -> bool:
    """Return whether a store states that every frame of its source was to be read: without --fps, --limit and
    --pattern."""
    try:
        reading = json.loads(str(file.attrs.get(WORK, "")))["reading"]
        return all(reading[name] is None for name in ("fps", "limit", "pattern"))
    except (ValueError, KeyError, TypeError):
        return False


def _contradictions(file: h5py.File, work: str) -> Iterator[str]:
    try:
        said: dict[str, Any] = json.loads(work)
        video, stamp = said["video"], _stamp(file)
        pairs = [(name, video[name], file.attrs[name]) for name in _SAID_TWICE]
        if "fingerprint" in stamp:
            pairs += [("fingerprint", said["fingerprint"], stamp["fingerprint"])]
            pairs += [("reading", said["reading"], reading_of(stamp))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"attribute {WORK} cannot be read: {error!r}"
        return
    for name, there, here in pairs:
        if there != here:
            yield f"{name} is {here} in the file's attributes and {there} in the work of its parts; {_AGAIN}"


def _cuts(table: h5py.Dataset, stamp: dict[str, Any]) -> Iterator[str]:
    """Check lengths: only the last two segments of a video may be shorter, and none is longer than the set size."""
    lengths = (table["stop"] - table["start"]).astype(int)
    size = stamp.get("segment", {}).get("size") if isinstance(stamp.get("segment"), dict) else None
    if size is not None and (lengths > size).any():
        longest, where = lengths.max(), _listed(np.flatnonzero(lengths > size).tolist())
        yield f"segments {where} have up to {longest} frames, but the file states {size}: not from this work; {_AGAIN}"
    elif len(lengths) > 3 and np.ptp(lengths[:-2]) > 1:  # they may differ by one if a video was cut evenly
        yield f"segments are {lengths[:-2].min()} to {lengths[:-2].max()} frames long: not from one work; {_AGAIN}"


def _stamp(file: h5py.File) -> dict[str, Any]:
    return _json(file.attrs["pipeline"])


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
