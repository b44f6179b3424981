"""Quality for stores that were made before stores had it: measured from what they hold, and written into them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.errors import ConfigError, StoreError
from geoflow.files.locations import is_remote
from geoflow.geometry.picture_measures import measure_pictures
from geoflow.quality.frame_facts import GROUP, SCORE
from geoflow.quality.frame_quality import StoredDepth, measure_frames
from geoflow.quality.quality_columns import QUALITY_COLUMNS, FrameQuality, as_nulls
from geoflow.store.index import write_index, write_segments
from geoflow.store.layout import create, shape_of
from geoflow.store.mirror import run_paths
from geoflow.store.owner import Ownership
from geoflow.store.quality_scores import frame_quality, write_scores
from geoflow.store.reader import Video, open_video
from geoflow.store.run import load_run
from geoflow.store.schema import ROWS, SEGMENTS, datasets
from geoflow.store.source_frames import source_frames
from geoflow.store.whole import whole_h5

if TYPE_CHECKING:
    from pathlib import Path

_PLAIN = ("frames.blur", "frames.brightness", "frames.overexposed")
_COMPRESSION = 2


@dataclass(frozen=True)
class Filled:
    """What became of one store."""

    name: str
    changed: bool
    quality: float | None
    said: str  # "" or why something could not be measured


def fill_quality(
    out: str | os.PathLike[str], *, again: bool = False, seen: Callable[[str], None] = lambda name: None
) -> list[Filled]:
    """Measure the quality of a run's stores that lack it, and write it into them and into the run's tables.

    With `again`, all stores are measured, also those that have it. Pixels come from the store, else from its source;
    without either, what needs them stays unknown. A store is replaced only when its new file is whole, and nothing else
    in it changes. `seen` is called with each name. Figures are those that a run writes, except of tracks where segments
    share frames: a store does not tell which segment has a track.

    Raises ConfigError for a folder elsewhere and for one that a run uses, StoreError if `out` is not a finished run.
    """
    if is_remote(out):
        raise ConfigError(f"{out} is elsewhere; copy the run's folder to this machine, and write its quality here")
    paths = run_paths(out)
    found: list[Filled] = []
    load_run(paths)  # of a folder that is none, nothing is made
    with Ownership(paths) as owner:
        run, tables, rows = load_run(paths), {}, []
        for row in run.index:
            if row["status"] == "complete":
                owner.check()
                store = paths.video(str(row["name"]))
                filled, columns, tables[row["name"]] = _fill(str(row["name"]), store, again)
                row, found = row | columns, [*found, filled]
                seen(str(row["name"]))
            rows.append(row)
        owner.check()
        write_index(paths, rows)
        write_segments(paths, tables)
    return found


def _fill(name: str, path: Path, again: bool) -> tuple[Filled, dict[str, Any], np.ndarray]:
    """Return what became of a store, its columns of the index, and its table of segments."""
    said, changed = "", False
    with open_video(path) as video:
        if again or SCORE.replace(".", "/") not in video.file:
            fields, said = _measured(video)
            _rewrite(video, path, fields)
            changed = True
    with open_video(path) as video:
        table = video.file[SEGMENTS][()]
        quality = frame_quality(video.file, table["start"], table["seam_residual"])
        columns = as_nulls(quality.columns(slice(None)))
        residuals = table["seam_residual"][np.isfinite(table["seam_residual"])]
    columns["seam_residual"] = float(residuals.max()) if len(residuals) else None
    return Filled(name, changed, columns["quality"], said), columns, table


def own_frames(table: np.ndarray, count: int) -> list[slice]:
    """Return the frames that each segment stores: up to the start of the next."""
    starts = [int(start) for start in table["start"]]
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], count])]


def _measured(video: Video) -> tuple[dict[str, np.ndarray], str]:
    """Return fields of all frames (T,), measured segment by segment, and why some could not be; "" if all could."""
    parts, said = [], ""
    for own in own_frames(video.file[SEGMENTS][()], len(video)):
        rows = dict(_rows(video, own))
        pictures: dict[str, np.ndarray] = {}
        if not said:
            try:
                pictures = measure_pictures(_pixels(video, own))
            except StoreError as error:
                said = str(error)
        fields = measure_frames(rows | pictures, _depth(video, own))
        plain = {name: pictures[name] for name in _PLAIN if name in pictures and name not in rows}
        parts.append((own, fields | plain))
    found: dict[str, np.ndarray] = {}
    for own, fields in parts:
        for name, values in fields.items():
            found.setdefault(name, np.full(len(video), np.nan, np.float32))[own] = values
    return found, said


def _rows(video: Video, own: slice) -> Iterator[tuple[str, np.ndarray]]:
    for name, row in datasets().items():
        if row.layout == ROWS and row.is_whole and name in video.file and not row.field.startswith(GROUP):
            yield row.field, video.file[name][own]
    if video.tracks is not None:
        visible = video.tracks.visible[own]
        seen = visible.any(0)
        yield "tracks.visible", visible[:, seen]
        yield "tracks.xyz", video.tracks.xyz[own][:, seen]
        yield "tracks.uv", video.tracks.uv[own][:, seen]


def _pixels(video: Video, own: slice) -> np.ndarray:
    """Return frames (T, H, W, 3) uint8. Raises StoreError if neither the store nor its source has them."""
    if "frames/rgb" in video.file:
        return video.file["frames/rgb"][own]
    return source_frames(video, video.frame_index[own])


def _depth(video: Video, own: slice) -> StoredDepth | None:
    if "geometry/depth" in video.file and "geometry/intrinsics" in video.file:
        return StoredDepth(lambda i: video.depth[own.start + i], video.intrinsics[own])
    if "camera/depth" in video.file and video.cameras is not None:
        return StoredDepth(lambda i: video.camera_depth[own.start + i], video.cameras.intrinsics[own])
    return None


def _rewrite(video: Video, path: Path, fields: dict[str, np.ndarray]) -> None:
    """Write a store again, with these fields and the columns of quality; the rest is copied as it is."""
    by_field = {row.field: row for row in datasets().values()}
    new = {by_field[name].name: name for name in fields}
    with whole_h5(path) as whole:
        whole.file.attrs.update(dict(video.file.attrs.items()))
        for name, item in video.file.items():
            if name not in (SEGMENTS, GROUP.strip(".")):
                video.file.copy(item, whole.file, name)
                whole.check()
        for path_inside, field in new.items():
            if path_inside in whole.file:
                del whole.file[path_inside]
            row = by_field[field]
            create(whole.file, row, shape_of(row, {"T": len(video)}), _COMPRESSION)[()] = fields[field]
        table = video.file[SEGMENTS]
        quality = write_scores(whole.file, table["start"], table["seam_residual"])
        whole.file[SEGMENTS] = _with_columns(table[()], quality, len(video))
        whole.file[SEGMENTS].attrs.update(dict(table.attrs.items()))
        whole.check()


def _with_columns(table: np.ndarray, quality: FrameQuality, count: int) -> np.ndarray:
    import h5py

    names = [name for name in table.dtype.names or () if name not in QUALITY_COLUMNS]
    added = [(name, h5py.string_dtype() if kind == "str" else kind) for name, (kind, _) in QUALITY_COLUMNS.items()]
    place = names.index("ladder")  # in the order of the schema
    kinds: list[tuple[str, Any]] = [(name, table.dtype[name]) for name in names]
    kinds[place:place] = added
    wider = np.zeros(len(table), np.dtype(kinds))
    for name in names:
        wider[name] = table[name]
    for row, own in zip(wider, own_frames(table, count)):
        for name, value in quality.columns(own).items():
            row[name] = value
    return wider
