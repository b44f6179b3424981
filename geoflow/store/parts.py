"""Part files: each finished segment on disk, whole, before its video is done. A stopped run keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import h5py
import numpy as np

from geoflow.errors import StoreError
from geoflow.fields import known_share
from geoflow.segments import Segment
from geoflow.store.layout import blocks, create, shape_of, wanted
from geoflow.store.whole import whole_h5


@dataclass(frozen=True)
class PartInfo:
    """What a part file says of itself, apart from its arrays."""

    index: int
    start: int  # first frame, counted in the video; also where its first stored frame belongs
    stop: int
    count: int  # frames stored: the overlap with the next segment belongs to the next part
    scale: float
    seam_residual: float
    known: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # field -> values known of those there are


def write_part(
    path: Path,
    segment: Segment,
    fields: Mapping[str, np.ndarray],
    options: Mapping[str, bool],
    *,
    count: int,
    compression: int,
) -> PartInfo:
    """Store the first `count` frames of a segment (its tracks in full). The file appears whole or not at all.

    Raises StoreError when the disk refuses.
    """
    video = segment.video
    sizes = {"T": count, "H": video.height, "W": video.width}
    with whole_h5(path) as whole:
        for row in wanted(fields, options):
            if "N" in row.shape.split():
                sizes_here = sizes | {"T": len(segment), "N": fields["tracks.query"].shape[0]}
            else:
                sizes_here = sizes
            dataset = create(whole.file, row, shape_of(row, sizes_here), compression)
            for where, array in blocks(row, fields, count):
                if array.size:
                    dataset[where] = array
                whole.check()
        info = _summary(segment, fields, count)
        for name, value in asdict(info).items():
            whole.file.attrs[name] = json.dumps(value) if name == "known" else value
    return info


def _summary(segment: Segment, fields: Mapping[str, np.ndarray], count: int) -> PartInfo:
    return PartInfo(
        index=segment.index,
        start=segment.start,
        stop=segment.stop,
        count=count,
        scale=float(fields["stitch.scale"][0]) if "stitch.scale" in fields else 1.0,
        seam_residual=float(fields["stitch.seam_residual"][0]) if "stitch.seam_residual" in fields else float("nan"),
        known=known_share(fields, count),
    )


def open_part(path: Path) -> h5py.File:
    """Open a part file. Raises StoreError when it is missing or not whole."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise StoreError(
            f"cannot read the finished segment {path}: {error}; delete its folder and run again to compute it anew"
        ) from error


def read_info(file: h5py.File) -> PartInfo:
    """The part's own summary. Raises StoreError when it is not a part file."""
    try:
        values = {name: file.attrs[name] for name in PartInfo.__dataclass_fields__ if name != "known"}
    except KeyError as error:
        raise StoreError(f"{file.filename} is not a finished segment: {error}; delete it and run again") from error
    known = {name: tuple(row) for name, row in json.loads(file.attrs.get("known", "{}")).items()}
    return PartInfo(**{name: value.item() for name, value in values.items()}, known=known)
