"""Assembles a video's store from the part files of its segments."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from geoflow.errors import StoreError
from geoflow.fields import telling
from geoflow.quality.quality_columns import QUALITY_COLUMNS, FrameQuality, as_nulls
from geoflow.segments import VideoInfo
from geoflow.stage import SegmentRecord
from geoflow.store.bent_arrays import bent, is_bent
from geoflow.store.closing import find_bend, sentence, table
from geoflow.store.coherence import key_of
from geoflow.store.layout import create, shape_of
from geoflow.store.meshes import MeshSource, add_objects
from geoflow.store.notes import nothing_found
from geoflow.store.object_poses import add_poses
from geoflow.store.opening import open_h5
from geoflow.store.parts import PartInfo, open_part, read_info, read_parts
from geoflow.store.paths import RunPaths
from geoflow.store.quality_scores import frame_quality, write_scores
from geoflow.store.reader import Video
from geoflow.store.recovery import recovery_of
from geoflow.store.schema import (
    EXTRA_ATTRIBUTES,
    FRAME,
    IDENTITY,
    LOOPS,
    METRIC,
    MOTION_NAMES,
    NOTES,
    PARTS,
    QUERY,
    ROWS,
    SCHEMA,
    SECONDS_PREFIX,
    SEGMENTS,
    TRACK_ID,
    TRACKS,
    WORK,
    Dataset,
    columns,
    datasets,
    num_hand_rows,
    num_tracks,
    segment_columns,
)
from geoflow.store.verify import verify_file, verify_store
from geoflow.store.whole import WholeH5, whole_h5
from geoflow.store.work_key import describe_work, work_key
from geoflow.values.plain import printable

if TYPE_CHECKING:
    from geoflow.geometry.loops.bending import Bend
    from geoflow.geometry.loops.similarity import Similarities

_MOST_LOOPS = 200  # that are listed, evenly: an attribute holds 64 KiB
_SEAM = ("start", "seam_residual")  # columns of the table of segments


@dataclass(frozen=True)
class _Plan:
    """The contents of the final file, read from the headers of the parts."""

    parts: list[tuple[Path, PartInfo]]
    names: list[str]
    columns: list[np.ndarray]  # of each part: the columns of its tracks in the file
    num_tracks: int
    num_hand_rows: int
    compression: int
    work: str  # the work that all parts belong to


def assemble(
    paths: RunPaths,
    video: VideoInfo,
    records: Sequence[SegmentRecord],
    *,
    pipeline: str = "{}",
    version: str = "",
    compression: int = 2,
    confirm: Callable[[], None] = lambda: None,
    meshes: Mapping[int, MeshSource] | None = None,
    without_mesh: Mapping[int, str] | None = None,
    tracks_need_rest: bool = False,
) -> dict[str, Any]:
    """Join the parts into `videos/<name>.h5`, verify the file, give it its name and delete the parts.

    A store is made of parts of one work, and it holds the key of this work. Parts with other settings, or that another
    run wrote at the same time, are refused.

    `confirm` is called before the file gets its name; it raises StoreError if the file must not get it. `meshes` are
    the meshes of the video's objects by number, in the video's world, or the part files that hold them. `without_mesh`
    says why an object has no mesh although it should have one. Only objects in these two go into the file. If
    `tracks_need_rest`, tracks on what moves are not in their places, and objects get no poses.

    Returns plain values for the run's record: path, frames, and the values of `totals`.
    Raises StoreError if a part is missing or the disk cannot be written; the parts are then kept.
    """
    final, work = paths.video(video.name), describe_work(video, pipeline)
    try:
        plan = _plan(paths, video, records, work, compression)
    except StoreError:
        # This is called again if a process died after it had named the file and before it reported that.
        places = (final, paths.store(video.name)) if paths.remote else (final,)
        done = next(filter(None, (_already_whole(place, video, pipeline, work) for place in places)), None)
        if done is None:
            raise
        _remove_parts(paths, video.name, work_key(work))
        return done
    metric = all(bool(info.numbers.get(METRIC, video.metric)) for _, info in plan.parts)
    bend = find_bend(plan.parts, video, metric=metric)
    with whole_h5(final) as whole:
        _write_attributes(whole.file, video, records, pipeline, version, work)
        if without_mesh:
            whole.file.attrs["status"] = "incomplete"
        whole.file.attrs["metric"] = metric
        _write_loops(whole.file, video, bend)
        _create_all(whole.file, plan, video)
        written = 0  # tracks whose first part is in the file
        for (path, info), columns_of_part in zip(plan.parts, plan.columns):
            with open_part(path) as part:
                if read_info(part).digest != info.digest:
                    raise StoreError(f"{path} was replaced meanwhile: another run writes here, too; run again")
                _copy_part(part, info, whole, columns_of_part, written, bend.of_frames if bend else None)
            written = max(written, columns_of_part.max(initial=-1) + 1)
        add_objects(whole, meshes or {}, without_mesh or {}, key=work_key(work), compression=compression, bend=bend)
        add_poses(whole, key=work_key(work), tracks_need_rest=tracks_need_rest)
        infos = [info for _, info in plan.parts]
        quality = write_scores(whole.file, *_seams(infos))
        whole.file[SEGMENTS] = segment_table(infos, records, quality)
        whole.file[SEGMENTS].attrs[PARTS] = json.dumps(Counter(info.key for info in infos))
        summary = totals(whole.file, final, _coverage(infos, video))
        whole.file.attrs.update({name: summary[name] for name in EXTRA_ATTRIBUTES})
        whole.check()
        whole.file.flush()
        whole.check()
        if problems := verify_file(whole.file, deep=False):
            raise StoreError(f"{final} failed its check and is not kept: {'; '.join(problems[:5])}; please report this")
        confirm()
    _remove_parts(paths, video.name, work_key(work))
    return {"path": str(final), "frames": video.num_frames, **summary}


def _coverage(parts: Sequence[PartInfo], video: VideoInfo) -> dict[str, float]:
    """Return the share of the video's pixels with depth, by dataset, if the parts have counted them."""
    if not all(part.known for part in parts):  # made by an earlier version
        return {}
    pixels = video.num_frames * video.height * video.width
    maps = {name: row.field for name, row in datasets().items() if row.layout == FRAME and row.field in telling()}
    return {name: sum(part.known.get(field, (0, 0))[0] for part in parts) / pixels for name, field in maps.items()}


def _remove_parts(paths: RunPaths, name: str, key: str) -> None:
    for path in (*paths.finished_parts(name, key).values(), *paths.mesh_parts(name)):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        paths.parts(name).rmdir()  # other files there belong to the engine
        paths.work.rmdir()  # only when this was the last unfinished video


def _already_whole(path: str | Path, video: VideoInfo, pipeline: str, work: str) -> dict[str, Any] | None:
    """Return the result of `assemble` for a file that it made earlier from the same work and pipeline, or None."""
    if verify_store(path, deep=False):
        return None
    with open_h5(path) as file:
        expected = {"source": printable(video.source), "pipeline": _fitting(pipeline), WORK: work}
        if any(file.attrs.get(name) != value for name, value in expected.items()):
            return None
        return {"path": str(path), "frames": video.num_frames, **totals(file, path)}


def totals(file: h5py.File, path: str | Path, coverage: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Return facts of a store, by their columns of the index; recovered and lacking as in geoflow/store/recovery.py.

    `coverage` is the share of pixels with depth, by dataset. Shares that it lacks are counted.
    """
    recovery = recovery_of(Video(file, Path(path)), coverage or {})
    motion = file["camera/motion"][()] if "camera/motion" in file else np.zeros(recovery.frames, np.uint8)
    return {
        "frames_posed": recovery.posed,
        "camera_quality": recovery.quality,
        "geometry_coverage": recovery.depth,
        "tracks": recovery.tracks,
        "frames_with_hands": recovery.hands,
        "motion": motion_summary(np.bincount(motion, minlength=len(MOTION_NAMES))),
        "segments": recovery.segments,
        "objects": recovery.objects,
        "metric": bool(file.attrs["metric"]),
        "recovered": recovery.sentence,
        "lacking": recovery.lacking,
        "notes": str(file.attrs.get(NOTES, "[]")),
        "key": key_of(file),
        **as_nulls(frame_quality(file, *(file[SEGMENTS][name] for name in _SEAM)).columns(slice(None))),
        "seam_residual": _largest(file[SEGMENTS]["seam_residual"]),
    }


def _seams(parts: Sequence[PartInfo]) -> tuple[np.ndarray, np.ndarray]:
    """Return the first frames of segments, and the residuals of the seams before them."""
    starts, residuals = ([part.start for part in parts], [part.numbers.get(_SEAM[1], np.nan) for part in parts])
    return np.array(starts), np.array(residuals, np.float64)


def _largest(residuals: np.ndarray) -> float | None:
    known = residuals[np.isfinite(residuals)]
    return float(known.max()) if len(known) else None


def motion_summary(frames_per_code: Iterable[int]) -> str:
    """Return the frames per code of camera/motion in words.

    >>> motion_summary([0, 80, 20, 0])
    'moving 80%, still 20%'
    """
    counts = [int(n) for n in frames_per_code]
    total = sum(counts)
    shares = sorted(((n / total, name) for n, name in zip(counts, MOTION_NAMES) if n), reverse=True)
    if len(shares) == 1:
        return shares[0][1]
    return ", ".join(f"{name} {share:.0%}" for share, name in shares)


def segment_table(
    parts: Sequence[PartInfo], records: Sequence[SegmentRecord], quality: FrameQuality | None = None
) -> np.ndarray:
    """Return the `segments` table: a structured array, a row per segment, a `seconds_<slot>` column per slot.

    `quality` gives the columns of quality, of the frames that the segment stores.
    """
    by_index = {record.index: record for record in records}
    slots = sorted({slot for record in records for slot in record.seconds})
    text = h5py.string_dtype()
    given = {name for part in parts for name in part.numbers}
    kinds: list[tuple[str, Any]] = []
    for name, (dtype, _) in segment_columns().items():
        if quality is None and name in QUALITY_COLUMNS:
            continue
        if name in given or name not in columns():
            kinds.append((name, text if dtype == "str" else dtype))
        if name == "status":
            kinds += [(SECONDS_PREFIX + slot, "float32") for slot in slots]
    table = np.zeros(len(parts), np.dtype(kinds))
    for row, part in zip(table, parts):
        record = by_index.get(part.index)
        for name in ("index", "start", "stop"):
            row[name] = getattr(part, name)
        for name in given:
            row[name] = part.numbers.get(name, columns()[name].fill)
        if quality is not None:
            for name, value in quality.columns(slice(part.start, part.start + part.count)).items():
                row[name] = value
        row["status"] = record.status if record else "complete"
        row["ladder"] = json.dumps(record.ladder if record else {}, sort_keys=True)
        row["notes"] = json.dumps([*(record.notes if record else ()), *nothing_found(part.known)])
        for slot in slots:
            row[SECONDS_PREFIX + slot] = record.seconds.get(slot, np.nan) if record else np.nan
    return table


def _plan(paths: RunPaths, video: VideoInfo, records: Sequence[SegmentRecord], work: str, compression: int) -> _Plan:
    names: set[str] = set()
    hand_rows, position = 0, 0
    numbers: dict[int, int] = {}  # of a track -> its column
    columns: list[np.ndarray] = []
    found, wanted = paths.finished_parts(video.name, work_key(work)), {record.index for record in records}
    parts = read_parts([path for index, path in found.items() if index in wanted], work_key(work))
    for path, _ in parts:
        with open_part(path) as file:
            names |= {name for name in datasets() if name in file}
            columns.append(_columns(file, path, numbers))
            hand_rows = max(hand_rows, num_hand_rows(file))
    for path, info in parts:
        if info.start != position:
            raise StoreError(
                f"{paths.parts(video.name)} lacks frames {position} to {info.start} (next is {path.name}); "
                "run again with --resume to compute them"
            )
        position += info.count
    if position != video.num_frames:
        raise StoreError(
            f"{paths.parts(video.name)} holds {position} frames in {len(parts)} segments, expected {video.num_frames}; "
            "run again with --resume to compute the rest"
        )
    present = [name for name in datasets() if name in names]
    return _Plan(parts, present, columns, len(numbers), hand_rows, compression, work)


def _columns(part: h5py.File, path: Path, numbers: dict[int, int]) -> np.ndarray:
    """Return the columns of a part's tracks, and add to `numbers` those that begin in it, in their order.

    A track that goes on from an earlier part stays in its column. Without numbers, each track is one of its own.
    """
    count = num_tracks(part)
    ids = part[TRACK_ID][()] if TRACK_ID in part else -1 - len(numbers) - np.arange(count)
    if len(np.unique(ids)) != count:
        raise StoreError(f"{path}: {TRACK_ID} has a number twice; please report this to the author of the tracks stage")
    return np.array([numbers.setdefault(number, len(numbers)) for number in ids.tolist()], np.int64)


def _write_attributes(
    file: h5py.File, video: VideoInfo, records: Sequence[SegmentRecord], pipeline: str, version: str, work: str
) -> None:
    complete = all(record.status == "complete" for record in records)
    file.attrs.update(
        {
            "geoflow_schema": SCHEMA,
            "geoflow_version": version,
            "source": printable(video.source),
            "source_sha256": video.source_sha256,
            IDENTITY: video.source_identity,
            "fps": float(video.fps),
            "num_frames": video.num_frames,
            "height": video.height,
            "width": video.width,
            "status": "complete" if complete else "incomplete",
            WORK: work,
        }
    )
    if video.notes:
        file.attrs[NOTES] = json.dumps([printable(note) for note in video.notes])
    file.attrs["pipeline"] = _fitting(pipeline)


def _write_loops(file: h5py.File, video: VideoInfo, bend: Bend | None) -> None:
    """Say which loops were closed, if there are some."""
    if bend is None or not bend.closed:
        return
    listed = table(bend.closed)
    file.attrs[LOOPS] = json.dumps(listed[:: -(-len(listed) // _MOST_LOOPS)])
    file.attrs[NOTES] = json.dumps([printable(note) for note in (*video.notes, sentence(bend.closed))])


def _fitting(pipeline: str) -> str:
    """Return the description if it fits HDF5's limit of 64 KiB for an attribute; the run's own record always has it."""
    return pipeline if len(pipeline.encode()) < 60_000 else json.dumps({"see": RunPaths("").run.name})


def _create_all(file: h5py.File, plan: _Plan, video: VideoInfo) -> None:
    sizes = {"T": video.num_frames, "H": video.height, "W": video.width}
    sizes |= {"N": plan.num_tracks, "R": plan.num_hand_rows}
    for name in plan.names:
        row = datasets()[name]
        create(file, row, shape_of(row, sizes), plan.compression)


def _copy_part(
    part: h5py.File, info: PartInfo, whole: WholeH5, columns: np.ndarray, written: int, bends: Similarities | None
) -> None:
    """Copy one part to its place. Its tracks go to `columns`; those from the column `written` on begin in it.

    `bends` are the corrections of the video's frames: what lies in the world moves with its frame.
    """
    for name, row in datasets().items():
        if name not in part or 0 in part[name].shape:
            continue
        source, target = part[name], whole.file[name]
        rows = slice(info.start, info.stop if row.layout == TRACKS else info.start + info.count)
        by = bends[rows] if bends is not None and is_bent(row, bends[rows]) else None
        if row.layout == FRAME:
            _copy_frames(
                source, target, info.start, whole, None if by is None else partial(_bent_frame, row, source, by)
            )
            continue
        values = source[()]
        if by is not None:
            metres = row.row.metres.replace(".", "/")
            own = bends if bends is not None and row.layout == QUERY else by
            values = bent(row, values, own, part[metres][()] if metres in part else None)
        if row.layout == ROWS:
            target[rows] = values
        elif row.layout == TRACKS:
            _copy_tracks(values, target, rows, columns)
        elif row.layout == QUERY:
            fresh = columns >= written
            target[written : written + int(fresh.sum())] = values[fresh]
        whole.check()


def _copy_tracks(values: np.ndarray, target: h5py.Dataset, frames: slice, columns: np.ndarray) -> None:
    """Write tracks (T, N, ...) to their columns, tile by tile, and only the tiles that these columns are in."""
    order = np.argsort(columns)
    tiles = columns[order] // target.chunks[1]
    for tile in np.unique(tiles):
        mine = order[tiles == tile]
        inside = columns[mine]
        if inside[-1] - inside[0] + 1 == len(inside):
            target[frames, inside[0] : inside[-1] + 1] = values[:, mine]
            continue
        block = target[frames, inside[0] : inside[-1] + 1]
        block[:, inside - inside[0]] = values[:, mine]
        target[frames, inside[0] : inside[-1] + 1] = block


def _bent_frame(row: Dataset, source: h5py.Dataset, bends: Similarities, i: int) -> np.ndarray:
    frame: np.ndarray = bent(row, source[i : i + 1], bends[i : i + 1])[0]
    return frame


def _copy_frames(
    source: h5py.Dataset,
    target: h5py.Dataset,
    start: int,
    whole: WholeH5,
    moved: Callable[[int], np.ndarray] | None = None,
) -> None:
    layout = ("dtype", "chunks", "compression_opts", "shuffle")
    same = all(getattr(source, key) == getattr(target, key) for key in layout)
    corner = (0,) * (source.ndim - 1)
    for i in range(len(source)):
        if moved is not None:
            target[start + i] = moved(i)
        elif same:  # the raw chunk from the disk, without unpacking and packing
            filters, data = source.id.read_direct_chunk((i, *corner))
            target.id.write_direct_chunk((start + i, *corner), data, filters)
        else:
            target[start + i] = source[i]
        whole.check()
