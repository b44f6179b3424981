"""Whether a store is of one piece: made of parts of one work, and of the one that it says."""

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
    """What shows that a store holds something other than it says; a line each.

    Files of earlier versions do not carry their parts' keys: of these only the cuts between segments can tell.
    """
    table = file[SEGMENTS]
    yield from _cuts(table, _stamp(file))
    if WORK not in file.attrs:
        return
    work = str(file.attrs[WORK])
    parts = _json(table.attrs.get(PARTS, ""))
    if (own := parts.get(work_key(work), 0)) != len(table):
        yield f"{len(table) - own} of {len(table)} segments are parts of other work than the file says; {_AGAIN}"
    yield from _contradictions(file, work)


def unlike_row(file: h5py.File, row: Mapping[str, Any], at_once: Set[str]) -> Iterator[str]:
    """What shows that a row of the index and the store it names are not of the same run; a line each.

    `at_once` are the videos that two runs worked on at the same time.
    """
    if row.get("key") and key_of(file) != row["key"]:
        yield "the index speaks of other work than the file holds: a run was killed since; run again with --resume"
    elif wrong := [name for name in _IN_ROWS if row.get(name) is not None and row[name] != file.attrs[name]]:
        yield f"the index gives another {', '.join(wrong)} than the file; run again with --resume"
    if row["name"] in at_once and WORK not in file.attrs:
        yield f"two runs worked on it at the same time, and the file does not say which frames are whose; {_AGAIN}"


def key_of(file: h5py.File) -> str:
    """The key of the work that a finished store holds; "" of one that was written before stores had it."""
    return work_key(str(file.attrs[WORK])) if WORK in file.attrs else ""


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
            yield f"{name} is {here} by the file's attributes and {there} by what its parts are parts of; {_AGAIN}"


def _cuts(table: h5py.Dataset, stamp: dict[str, Any]) -> Iterator[str]:
    """Only the last two segments of a video are cut to what is left, and none is longer than asked for."""
    lengths = (table["stop"] - table["start"]).astype(int)
    size = stamp.get("segment", {}).get("size") if isinstance(stamp.get("segment"), dict) else None
    if size is not None and (lengths > size).any():
        longest, where = lengths.max(), _listed(np.flatnonzero(lengths > size).tolist())
        yield f"segments {where} have up to {longest} frames, where the file says {size}: not of this work; {_AGAIN}"
    elif len(lengths) > 3 and np.ptp(lengths[:-2]) > 1:  # which may differ by one where a video was cut evenly
        yield f"segments are {lengths[:-2].min()} to {lengths[:-2].max()} frames long: not of one work; {_AGAIN}"


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
