"""What a stage that makes meshes works from: the finished segments of a video, which are on disk before its store is.

A stage of span "object" gets what the store will have, not what travelled: its inputs are datasets of the part files,
and the frames, which are decoded from the source.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from geoflow.errors import StoreError
from geoflow.fields import field
from geoflow.geometry.labels import numbers_in
from geoflow.segments import Span, VideoInfo
from geoflow.store.meshes import LABEL, Mesh, made_in, write_mesh_part
from geoflow.store.object_work import FoundObjects, ObjectWork
from geoflow.store.parts import PartInfo, open_part, read_parts
from geoflow.store.schema import DECODED, datasets


def find_objects(work: ObjectWork, video: VideoInfo) -> FoundObjects:
    """Return the objects that the labels of a video show in any frame. Raises StoreError."""
    parts = _parts(work, video)
    seen: set[int] = set()
    for path, _ in parts:
        with open_part(path) as file:
            if LABEL in file:
                seen.update(numbers_in(file[LABEL][i] for i in range(len(file[LABEL]))))
    course, key = parts[-1][1].digest, work.key
    made = [n for n in seen if made_in(work.paths.mesh_part(video.name, n, key), n, key, course)]
    return FoundObjects(tuple(sorted(seen)), tuple(sorted(made)), course)


def keep_mesh(work: ObjectWork, video: VideoInfo, number: int, mesh: Mesh) -> int:
    """Store a mesh until the video's store is put together; return the size of the file. Raises StoreError."""
    return write_mesh_part(work.paths, video, number, mesh, work.key, course=work.course).stat().st_size


def read_fields(
    work: ObjectWork,
    video: VideoInfo,
    probed: Mapping[str, np.ndarray],
    *,
    required: Sequence[str],
    optional: Sequence[str],
    threads: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the fields of a video segment by segment, each frame once; a segment that lacks a required one is left out.

    `probed` is as for `geoflow.video.pieces.read_pieces`. Raises StoreError, and InputError when a frame cannot be
    decoded.
    """
    parts = _parts(work, video)
    if parts[-1][1].digest != work.course:
        raise StoreError(
            f"the finished segments of {video.name} were replaced since its objects were looked for; run again"
        )
    for path, info in parts:
        with open_part(path) as file:
            fields = dict(_held_fields(file, (*required, *optional)))
        if {*DECODED} & {*required, *optional}:
            fields |= _decoded(video, info, probed, (*required, *optional), threads)
        if fields.keys() >= set(required):
            for array in fields.values():
                array.flags.writeable = False
            yield fields


def _parts(work: ObjectWork, video: VideoInfo) -> list[tuple[Path, PartInfo]]:
    """The part files of all segments. Raises StoreError when one is missing or of other work."""
    if not work.paths.events.is_file():
        raise StoreError(
            f"{work.paths.root} on {socket.gethostname()} is not the folder that the run writes to; name one for -o "
            "that is on a disk of all nodes"
        )
    return read_parts([work.paths.part(video.name, i, work.key) for i in range(work.segments)], work.key)


def _held_fields(file: h5py.File, names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    for row in datasets().values():
        if row.field in names and row.field not in DECODED and row.is_whole and row.name in file:
            yield row.field, file[row.name][()].astype(field(row.field).dtype, copy=False)


def _decoded(
    video: VideoInfo, info: PartInfo, probed: Mapping[str, np.ndarray], names: Sequence[str], threads: int
) -> dict[str, np.ndarray]:
    from geoflow.video.pieces import read_pieces

    span = Span(video, "segment", info.index, info.start, info.start + info.count, info.index, info.index)
    pieces = list(read_pieces(span, probed, masks="frames.mask" in names, threads=threads))
    found = [name for name in DECODED if name in names and name in pieces[0]]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in found}
