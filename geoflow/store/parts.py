"""Part files: each finished segment on disk, whole, before its video is done. A stopped run keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

from geoflow.errors import StoreError
from geoflow.segments import Segment
from geoflow.store.layout import blocks, create, shape_of, wanted
from geoflow.store.schema import MOTION_NAMES
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
    frames_posed: int
    geometry_valid: int  # pixels with geometry
    geometry_pixels: int  # pixels that could have had it
    motion: tuple[int, ...]  # frames per code of camera/motion


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
        info = _summary(whole.file, segment, fields, count)
        for name, value in asdict(info).items():
            whole.file.attrs[name] = value
    return info


def _summary(file: h5py.File, segment: Segment, fields: Mapping[str, np.ndarray], count: int) -> PartInfo:
    mask = file.get("geometry/mask")
    motion = fields.get("camera.motion", np.zeros(count, np.uint8))[:count]
    return PartInfo(
        index=segment.index,
        start=segment.start,
        stop=segment.stop,
        count=count,
        scale=float(fields["stitch.scale"][0]) if "stitch.scale" in fields else 1.0,
        seam_residual=float(fields["stitch.seam_residual"][0]) if "stitch.seam_residual" in fields else float("nan"),
        frames_posed=int(fields["camera.valid"][:count].sum()) if "camera.valid" in fields else 0,
        geometry_valid=0 if mask is None else sum(int(mask[i].sum()) for i in range(count)),
        geometry_pixels=0 if mask is None else mask.size,
        motion=tuple(np.bincount(motion, minlength=len(MOTION_NAMES)).tolist()),
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
        values = {name: file.attrs[name] for name in PartInfo.__dataclass_fields__}
    except KeyError as error:
        raise StoreError(f"{file.filename} is not a finished segment: {error}; delete it and run again") from error
    motion = tuple(int(n) for n in values.pop("motion"))
    return PartInfo(**{name: value.item() for name, value in values.items()}, motion=motion)
