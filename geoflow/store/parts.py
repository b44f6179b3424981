"""Part files: each finished segment on disk, complete, before its video is done. A stopped run keeps them.

A part holds the key of its work (`work_key`), a digest of its content, and the digest of the part before it. So a part
with other settings, or from another run of the same work with other results, cannot be taken for its neighbour.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np

from geoflow.errors import StoreError
from geoflow.fields import BESIDE, known_share
from geoflow.segments import Segment
from geoflow.store.layout import blocks, create, shape_of, wanted
from geoflow.store.schema import QUERY, TRACKS, columns, num_hand_rows
from geoflow.store.whole import whole_h5
from geoflow.values.field import ALWAYS

_BESIDE = "beside"  # group of what the store is put together by, and does not hold
_MAPPINGS = ("numbers", "known")  # items of a part's summary that are kept as JSON


@dataclass(frozen=True)
class PartInfo:
    """The summary of a part file, without its arrays."""

    index: int
    start: int  # first frame, counted in the video; also the place of its first stored frame
    stop: int
    count: int  # frames stored: the overlap with the next segment belongs to the next part
    numbers: Mapping[str, float] = field(default_factory=dict)  # column of the table of segments -> number
    known: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # field -> (values known, values)
    key: str = ""  # key of the work that it is a part of
    digest: str = ""  # of its arrays and of `before`
    before: str = ""  # digest of the part before it; "" for the first part, and if not known


def write_part(
    path: Path,
    segment: Segment,
    fields: Mapping[str, np.ndarray],
    switches: Mapping[str, bool],
    *,
    count: int,
    compression: int,
    key: str,
    before: str = "",
) -> PartInfo:
    """Store the first `count` frames of a segment (and all its tracks). The file appears complete or not at all.

    Raises StoreError when the disk refuses.
    """
    video, digest = segment.video, hashlib.sha256(f"{key} {before}".encode())
    sizes = {"T": count, "H": video.height, "W": video.width, "R": num_hand_rows(fields)}
    with whole_h5(path) as whole:
        for row in wanted(fields, switches):
            whole_segment = row.layout in (TRACKS, QUERY)
            shape = fields[row.field].shape if whole_segment else shape_of(row, sizes)
            dataset = create(whole.file, row, shape, compression)
            digest.update(f"{row.name} {dataset.shape}".encode())
            for where, array in blocks(row, fields, count):
                if array.size:
                    dataset[where] = array
                    digest.update(np.ascontiguousarray(array).data.cast("B"))
                whole.check()
        for name in (name for name in BESIDE if name in fields and fields[name].size):
            whole.file.create_dataset(f"{_BESIDE}/{name}", data=fields[name])
            digest.update(f"{name} {fields[name].shape}".encode())
            digest.update(np.ascontiguousarray(fields[name]).data.cast("B"))
            whole.check()
        info = replace(_summary(segment, fields, count), key=key, digest=digest.hexdigest()[:20], before=before)
        for name, value in asdict(info).items():
            whole.file.attrs[name] = json.dumps(value) if name in _MAPPINGS else value
    return info


def _summary(segment: Segment, fields: Mapping[str, np.ndarray], count: int) -> PartInfo:
    return PartInfo(
        index=segment.index,
        start=segment.start,
        stop=segment.stop,
        count=count,
        numbers={
            name: float(fields[row.field][0]) if row.field in fields else row.fill
            for name, row in columns().items()
            if row.field in fields or row.stored.presence == ALWAYS
        },
        known=known_share(fields, count),
    )


def beside(file: h5py.File, group: str) -> dict[str, np.ndarray]:
    """Return the fields of a group, such as `places`, that a part file holds beside its datasets; {} if none."""
    held = file.get(_BESIDE, {})
    return {name: held[name][()] for name in held if name.startswith(f"{group}.")}


def open_part(path: Path) -> h5py.File:
    """Open a part file. Raises StoreError if it is missing or incomplete."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise StoreError(
            f"cannot read the finished segment {path}: {error}; delete its folder and run again to compute it again"
        ) from error


def read_info(file: h5py.File) -> PartInfo:
    """Return the summary of a part file. Raises StoreError if it is not a part file."""
    try:
        values = {name: file.attrs[name] for name in PartInfo.__dataclass_fields__ if name not in _MAPPINGS}
    except KeyError as error:
        raise StoreError(f"{file.filename} is not a finished segment: {error}; delete it and run again") from error
    numbers = json.loads(file.attrs.get("numbers", "{}"))
    known = {name: tuple(row) for name, row in json.loads(file.attrs.get("known", "{}")).items()}
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
    return PartInfo(**plain, numbers=numbers, known=known)


def read_parts(paths: Sequence[Path], key: str) -> list[tuple[Path, PartInfo]]:
    """Return the summaries of part files in the order of their segments, all of the work `key` and fitting together.

    A part that does not fit is deleted with all parts after it, so that they are made again. Then it raises StoreError,
    as it does if a file is missing or incomplete.
    """
    found: list[tuple[Path, PartInfo]] = []
    for i, path in enumerate(paths):
        with open_part(path) as file:
            info = read_info(file)
        before = found[-1][1].digest if found else ""
        if info.key != key or (before and info.before and info.before != before):
            for wrong in paths[i:]:
                wrong.unlink(missing_ok=True)
            whose = "other work" if info.key != key else "another course of the same work"
            raise StoreError(
                f"{path} is a part of {whose}: another run wrote here at the same time. It and the parts after it are "
                "deleted; run again to compute them again"
            )
        found.append((path, info))
    return found
