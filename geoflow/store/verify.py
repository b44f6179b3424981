"""Checks that a store, or a whole run, is what the schema promises."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from geoflow.errors import StoreError
from geoflow.geometry.rigid import only_turns
from geoflow.observe.events import iter_events
from geoflow.store.coherence import unlike_parts, unlike_row
from geoflow.store.concurrent_runs import worked_on_at_once
from geoflow.store.index import read_rows
from geoflow.store.layout import shape_of
from geoflow.store.mirror import files_of_videos, is_run, records
from geoflow.store.opening import copied, open_h5
from geoflow.store.paths import TEMPORARY, RunPaths
from geoflow.store.run import read_run_json
from geoflow.store.schema import (
    ATTRIBUTES,
    DATASETS,
    FRAME,
    REQUIRED,
    SCHEMA,
    SEGMENT_COLUMNS,
    SEGMENTS,
    STATUSES,
    Dataset,
)

# float32 poses that went through a few matrix products keep about 1e-6; 1e-3 is a shear that would be seen.
_ORTHONORMAL = 1e-3
_BLOCK = 32  # frames of (T, N) datasets looked at together


def verify_store(path: str | os.PathLike[str], *, deep: bool = True) -> list[str]:
    """Problems of one store file, each in one line; empty when there are none.

    `deep` reads every chunk and checks values; without it only names, types, shapes and attributes are looked at.
    """
    try:
        with copied(path) if deep else contextlib.nullcontext(path) as where, open_h5(where) as file:
            return verify_file(file, deep=deep)
    except (FileNotFoundError, IsADirectoryError):
        return [f"{path} is not a file"]
    except OSError as error:
        return [f"{path} is not a whole HDF5 file: {error}"]


def verify(path: str | os.PathLike[str], *, deep: bool = True) -> list[str]:
    """Problems of a run's folder or of one store, whichever it is."""
    return (verify_run if is_run(path) else verify_store)(path, deep=deep)


def verify_file(file: h5py.File, *, deep: bool = True) -> list[str]:
    """The same for a file that is open."""
    problems = list(_attributes(file))
    if problems:
        return problems  # the rest needs num_frames, height and width
    problems += _structure(file)
    if not problems:
        problems += unlike_parts(file)
    if deep and not problems:
        for check in (_frames, _dense, _cameras, _tracks, _hands):
            try:
                problems += check(file)
            except (OSError, RuntimeError) as error:
                problems.append(f"unreadable data: {error}")
    return problems


def verify_run(out: str | os.PathLike[str], *, deep: bool = True) -> list[str]:
    """Problems of a run's folder: inputs without a state, files missing, broken or left half-written."""
    with records(out) as paths:
        return _verify_run(paths, deep)


def _verify_run(paths: RunPaths, deep: bool) -> list[str]:
    if not paths.index.is_file():
        return [f"{paths.home} has no {paths.index.name}: it is not the output of a finished run"]
    try:
        rows = read_rows(paths.index)
        inputs = read_run_json(paths).get("inputs")
    except StoreError as error:
        return [str(error)]
    problems = list(_states(rows, inputs))
    at_once = worked_on_at_once(iter_events(paths.events)) if paths.events.is_file() else set()
    listed = set()
    for row in rows:
        if row["status"] != "complete":
            continue
        listed.add(Path(row["path"]).name)
        wrong = verify_store(paths.whole(row["path"]), deep=deep) or _unlike_row(paths, row, at_once)
        problems += [f"{row['path']}: {problem}" for problem in wrong]
    for name in files_of_videos(paths):
        path = paths.whole(f"{paths.videos.name}/{name}")
        if name.endswith(TEMPORARY):
            problems.append(f"{path} was left half-written; run again with --resume")
        elif name not in listed:
            problems.append(f"{path} is not listed in {paths.index.name}")
    return problems


def _unlike_row(paths: RunPaths, row: dict[str, Any], at_once: set[str]) -> list[str]:
    with open_h5(paths.whole(row["path"])) as file:
        return list(unlike_row(file, row, at_once))


def _states(rows: list[dict[str, Any]], inputs: Any) -> Iterator[str]:
    names = [row["name"] for row in rows]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name} has {names.count(name)} rows in the index, expected one"
    for row in rows:
        if row["status"] == "complete" and not row["path"]:
            yield f"{row['name']} is complete but has no path"
        elif row["status"] == "failed" and not row["reason"]:
            yield f"{row['name']} failed without a reason"
        elif row["status"] not in ("complete", "failed"):
            yield f"{row['name']} has the state {row['status']!r}, expected complete or failed"
    for entry in inputs or ():
        name = entry.get("name") if isinstance(entry, dict) else entry
        if name not in names and name not in {row["source"] for row in rows}:
            yield f"input {name} has no row in the index: it is silently missing"


def _attributes(file: h5py.File) -> Iterator[str]:
    if "geoflow_schema" not in file.attrs:
        yield "no attribute geoflow_schema: not a GeoFlow store"
        return
    if file.attrs["geoflow_schema"] != SCHEMA:
        yield f"schema {file.attrs['geoflow_schema']}, this version knows {SCHEMA}"
        return
    kinds = {int: (int, np.integer), float: (float, np.floating), bool: (bool, np.bool_), str: (str,)}
    for name, (kind, _) in ATTRIBUTES.items():
        if name not in file.attrs:
            yield f"attribute {name} is missing"
        elif not isinstance(file.attrs[name], kinds[kind]):
            yield f"attribute {name} should be {kind.__name__}, found {type(file.attrs[name]).__name__}"
        elif name == "status" and file.attrs[name] not in STATUSES:
            yield f"attribute status is {file.attrs[name]!r}, expected one of {STATUSES}"


def _structure(file: h5py.File) -> Iterator[str]:
    for name in REQUIRED:
        if name not in file:
            yield f"{name} is missing"
    groups = {row.group for row in DATASETS.values() if row.name in file}
    sizes = {"T": file.attrs["num_frames"], "H": file.attrs["height"], "W": file.attrs["width"]}
    sizes["N"] = len(file["tracks/query"]) if "tracks/query" in file else 0
    for row in DATASETS.values():
        if row.name in file:
            yield from _shape(file[row.name], row, shape_of(row, sizes))
        elif row.group in groups and not row.extra and row.name not in REQUIRED:
            yield f"{row.name} is missing beside the rest of {row.group}"
    if SEGMENTS not in file or file[SEGMENTS].dtype.names is None:
        yield f"the table {SEGMENTS} is missing"
    elif missing := set(SEGMENT_COLUMNS) - set(file[SEGMENTS].dtype.names):
        yield f"the table {SEGMENTS} lacks {sorted(missing)}"


def _shape(dataset: h5py.Dataset, row: Dataset, shape: tuple[int, ...]) -> Iterator[str]:
    if dataset.dtype != np.dtype(row.dtype):
        yield f"{row.name} should be {row.dtype}, found {dataset.dtype}"
    if dataset.shape != shape:
        yield f"{row.name} should have shape {shape}, found {dataset.shape}"
    elif row.layout == FRAME and shape[0] and dataset.chunks != (1, *shape[1:]):
        yield f"{row.name} should have one frame per chunk, found chunks {dataset.chunks}"


def _frames(file: h5py.File) -> Iterator[str]:
    index, time = file["frames/index"][()], file["frames/time"][()]
    if (np.diff(index) <= 0).any() or (index < 0).any():
        yield f"frames/index does not strictly increase at frame {_first(np.diff(index) <= 0)}"
    if not np.isfinite(time).all() or (np.diff(time) < 0).any():
        yield "frames/time is not finite and increasing"


def _dense(file: h5py.File) -> Iterator[str]:
    for name, row in DATASETS.items():
        if row.layout != FRAME or name not in file:
            continue
        values, mask = file[name], file.get(f"{row.group}/mask")
        for i in range(len(values)):
            try:
                problem = _dense_frame(values[i], None if mask is None else mask[i])
            except (OSError, RuntimeError) as error:
                problem = f"cannot be read: {error}"
            if problem:
                yield f"{name} frame {i} {problem}"
                break  # one line per dataset is enough to know that it is broken


def _dense_frame(value: np.ndarray, mask: np.ndarray | None) -> str:
    if value.dtype.kind != "f":
        return ""
    if not np.isfinite(value).all():
        return f"has {np.count_nonzero(~np.isfinite(value))} values that are not finite"
    depth = value[..., 2] if value.ndim == 3 else value
    if (depth < 0).any():
        return "has negative depth"
    if mask is not None and ((depth > 0) != mask).any():
        return f"disagrees with its mask on {np.count_nonzero((depth > 0) != mask)} pixels (0 exactly where False)"
    return ""


def _cameras(file: h5py.File) -> Iterator[str]:
    if "geometry" in file:
        used = np.array([mask.any() for mask in file["geometry/mask"]], bool)
        yield from _intrinsics("geometry/intrinsics", file["geometry/intrinsics"][()], used)
    if "camera" not in file:
        return
    valid, pose = file["camera/valid"][()], file["camera/cam_from_world"][()]
    yield from _intrinsics("camera/intrinsics", file["camera/intrinsics"][()], valid)
    if not np.isfinite(pose[valid]).all():
        yield f"camera/cam_from_world is not finite at a valid frame ({_first(valid & ~np.isfinite(pose).all((1, 2)))})"
        return
    turned = ~valid & only_turns(pose)
    if not np.isnan(pose[~valid & ~turned]).all():
        yield "camera/cam_from_world should be NaN where camera/valid is False, but for a rotation"
    rotation = pose[valid | turned][:, :3, :3].astype(np.float64)
    error = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max((1, 2), initial=0)
    if (error > _ORTHONORMAL).any() or (np.linalg.det(rotation) < 0).any():
        yield f"camera/cam_from_world has a matrix that is no rotation (error {error.max():.2g})"
    if not (pose[valid][:, 3] == np.array([0, 0, 0, 1])).all():
        yield "camera/cam_from_world has a last row other than 0 0 0 1"


def _intrinsics(name: str, matrices: np.ndarray, used: np.ndarray) -> Iterator[str]:
    focal = matrices[used][:, [0, 1], [0, 1]]
    if not np.isfinite(matrices[used]).all() or (focal <= 0).any():
        yield f"{name} has a frame whose focal length is not positive and finite"


def _tracks(file: h5py.File) -> Iterator[str]:
    if "tracks" not in file or not len(file["tracks/query"]):
        return
    num_frames = file.attrs["num_frames"]
    frame = file["tracks/query"][:, 0]
    if not ((frame >= 0) & (frame < num_frames)).all():
        yield f"tracks/query names a frame outside 0..{num_frames - 1}"
    for start in range(0, num_frames, _BLOCK):
        block = slice(start, start + _BLOCK)
        visible, uv, xyz = (file[f"tracks/{name}"][block] for name in ("visible", "uv", "xyz"))
        if not np.isfinite(uv[visible]).all():
            yield f"tracks/uv is not finite where a track is visible (frames from {start})"
            return
        if np.isinf(xyz).any() or np.isinf(uv).any():
            yield f"tracks hold infinite values (frames from {start})"
            return


def _hands(file: h5py.File) -> Iterator[str]:
    for side in ("left", "right"):
        group = file.get(f"hands/{side}")
        if group is None:
            continue
        valid, confidence = group["valid"][()], group["confidence"][()]
        for name in ("joints", "wrist", "uv", "mano_pose", "betas"):
            if name in group and not np.isnan(group[name][()][~valid]).all():
                yield f"hands/{side}/{name} should be NaN where valid is False"
        seen = valid & ~group["filled"][()] if "filled" in group else valid
        if "filled" in group and group["filled"][()][~valid].any():
            yield f"hands/{side}/filled should be False where valid is False"
        if not np.isfinite(group["uv"][()][valid]).all():
            yield f"hands/{side}/uv is not finite where valid"
        if not ((confidence >= 0) & (confidence <= 1)).all() or confidence[~seen].any():
            yield f"hands/{side}/confidence should lie in 0..1 and be 0 where the hand was not seen"


def _first(condition: np.ndarray) -> int:
    return int(np.flatnonzero(condition)[0]) if condition.any() else 0
