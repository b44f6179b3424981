"""Checks that a store, or a whole run, is as the schema promises."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from geoflow.errors import StoreError
from geoflow.observe.events import iter_events
from geoflow.store.coherence import unlike_parts, unlike_row
from geoflow.store.concurrent_runs import worked_on_at_once
from geoflow.store.index import read_rows
from geoflow.store.layout import shape_of
from geoflow.store.meshes import mesh_form_faults, object_faults
from geoflow.store.mirror import files_of_videos, is_run, records
from geoflow.store.object_poses import pose_faults, pose_form_faults
from geoflow.store.opening import copied, open_h5
from geoflow.store.paths import TEMPORARY, RunPaths
from geoflow.store.run import read_run_json
from geoflow.store.schema import (
    ATTRIBUTES,
    FRAME,
    SCHEMA,
    SEGMENTS,
    STATUSES,
    Dataset,
    datasets,
    num_hand_rows,
    num_tracks,
    required_columns,
)
from geoflow.store.value_checks import wrong_values
from geoflow.values.field import ALWAYS, WITH_GROUP


def verify_store(path: str | os.PathLike[str], *, deep: bool = True) -> list[str]:
    """Return the problems of one store file, one line each; [] if there are none.

    `deep` reads every chunk and checks values. Without it, only names, types, shapes and attributes are checked.
    """
    try:
        with copied(path) if deep else contextlib.nullcontext(path) as where, open_h5(where) as file:
            return verify_file(file, deep=deep)
    except (FileNotFoundError, IsADirectoryError):
        return [f"{path} is not a file"]
    except OSError as error:
        return [f"{path} is not a whole HDF5 file: {error}"]


def verify(path: str | os.PathLike[str], *, deep: bool = True) -> list[str]:
    """Return the problems of a run's folder or of one store, depending on the path."""
    return (verify_run if is_run(path) else verify_store)(path, deep=deep)


def verify_file(file: h5py.File, *, deep: bool = True) -> list[str]:
    """Return the problems of an open store file."""
    problems = list(_attributes(file))
    if problems:
        return problems  # the rest needs num_frames, height and width
    problems += [*_structure(file), *mesh_form_faults(file), *pose_form_faults(file)]
    if not problems:
        problems += unlike_parts(file)
    if deep and not problems:
        for name, row in datasets().items():
            if name in file:
                problems += _read(wrong_values(file, row))
        problems += [*_read(object_faults(file)), *_read(pose_faults(file))]
    return problems


def _read(found: Iterator[str]) -> Iterator[str]:
    """Yield the found problems, and a line if the rest cannot be read."""
    try:
        yield from found
    except (OSError, RuntimeError) as error:
        yield f"unreadable data: {error}"


def verify_run(out: str | os.PathLike[str], *, deep: bool = True) -> list[str]:
    """Return the problems of a run's folder: inputs without a state; files missing, broken or left half-written."""
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
        elif row["status"] in ("failed", "unfit") and not row["reason"]:
            yield f"{row['name']} is {row['status']} without a reason"
        elif row["status"] not in ("complete", "failed", "unfit"):
            yield f"{row['name']} has the state {row['status']!r}, expected complete, failed or unfit"
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
    rows = datasets().values()
    groups = {row.group for row in rows if row.name in file}
    sizes = {"T": file.attrs["num_frames"], "H": file.attrs["height"], "W": file.attrs["width"]}
    sizes |= {"N": num_tracks(file), "R": num_hand_rows(file)}
    for row in rows:
        if row.name in file:
            yield from _shape(file[row.name], row, shape_of(row, sizes))
        elif row.stored.presence == ALWAYS:
            yield f"{row.name} is missing"
        elif row.group in groups and row.stored.presence == WITH_GROUP:
            yield f"{row.name} is missing beside the rest of {row.group}"
    if SEGMENTS not in file or file[SEGMENTS].dtype.names is None:
        yield f"the table {SEGMENTS} is missing"
    elif missing := set(required_columns()) - set(file[SEGMENTS].dtype.names):
        yield f"the table {SEGMENTS} lacks {sorted(missing)}"


def _shape(dataset: h5py.Dataset, row: Dataset, shape: tuple[int, ...]) -> Iterator[str]:
    if dataset.dtype != np.dtype(row.dtype):
        yield f"{row.name} should be {row.dtype}, found {dataset.dtype}"
    if dataset.shape != shape:
        yield f"{row.name} should have shape {shape}, found {dataset.shape}"
    elif row.layout == FRAME and shape[0] and dataset.chunks != (1, *shape[1:]):
        yield f"{row.name} should have one frame per chunk, found chunks {dataset.chunks}"
