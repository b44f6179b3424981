"""Layout: creates the datasets of the schema in an HDF5 file, and converts a pipeline's fields to them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from geoflow.fields import FIELDS
from geoflow.geometry.rigid import only_turns
from geoflow.store.schema import FRAME, QUERY, ROWS, TRACKS, Dataset, datasets
from geoflow.values.field import POSES, SCORE, ZERO, Field

# A track is written only in the segments that follow it; with small tiles its other rows take no space.
TRACK_TILE = (32, 256)  # frames, tracks


def shape_of(row: Dataset, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Return the symbolic shape as numbers: `T H W 3` with T=5, H=2, W=4 is (5, 2, 4, 3)."""
    return tuple(int(symbol) if symbol.isdigit() else sizes[symbol] for symbol in row.shape.split())


def create(file: h5py.File, row: Dataset, shape: tuple[int, ...], compression: int) -> h5py.Dataset:
    """Create one dataset with its chunks, built-in filters only (gzip and shuffle), fill value and unit."""
    options: dict[str, Any] = {}
    if row.layout == FRAME and shape[0]:
        options["chunks"] = (1, *shape[1:])
    elif row.layout == TRACKS and 0 not in shape:
        options["chunks"] = (min(shape[0], TRACK_TILE[0]), min(shape[1], TRACK_TILE[1]), *shape[2:])
    if "chunks" in options and compression:
        options |= {"compression": "gzip", "compression_opts": compression, "shuffle": True}
    fill = np.array(row.fill).astype(row.dtype)[()]
    dataset = file.create_dataset(row.name, shape, row.dtype, fillvalue=fill, **options)
    dataset.attrs["unit"] = row.unit
    dataset.attrs["meaning"] = row.meaning
    if row.row.codes:
        dataset.attrs["codes"] = json.dumps(dict(enumerate(row.row.codes)))
    return dataset


def wanted(fields: Mapping[str, np.ndarray], switches: Mapping[str, bool]) -> list[Dataset]:
    """Return the datasets that these fields fill, without datasets whose switch is off."""
    return [row for row in datasets().values() if row.is_wanted(fields, switches)]


def blocks(row: Dataset, fields: Mapping[str, np.ndarray], count: int) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield (selection, array) pairs to write; dense maps come frame by frame to keep memory low.

    Unknown values are written as their field's row promises: depth 0 with mask False, NaN poses and hands. For a camera
    that only turns, the rotation is kept beside a NaN translation.
    """
    array = fields[row.field]
    if row.layout == FRAME:
        for i in range(count):
            yield i, _frame(row, fields, i)
    elif row.layout == ROWS:
        yield slice(0, count), _rows(row.row, fields, array[:count])
    elif row.layout in (TRACKS, QUERY):
        yield Ellipsis, array


def _frame(row: Dataset, fields: Mapping[str, np.ndarray], i: int) -> np.ndarray:
    value = fields[row.field][i]
    keep = _kept(row.row, fields, i)
    if keep is None:
        return value
    if row.row.dtype == "bool" and not row.row.outside:
        return keep
    value = value[..., 2] if row.take == "z" else value
    return np.where(keep.reshape(*keep.shape, *[1] * (value.ndim - 2)), value, value.dtype.type(row.row.unknown))


def _kept(row: Field, fields: Mapping[str, np.ndarray], i: int) -> np.ndarray | None:
    """Return the pixels (H, W) bool of frame i with a value: inside the mask and with a depth. None means all
    pixels."""
    mask = row.outside or row.name
    about = [entry for entry in FIELDS.values() if entry.outside == mask and entry.depth and entry.name in fields]
    if mask in fields and fields[mask].dtype == bool and (about or row.outside):
        keep = fields[mask][i]
    elif row.invalid == ZERO and row.depth:
        keep, about = np.ones(fields[row.name].shape[1:3], bool), [row]
    else:
        return None
    for entry in about:
        depth = fields[entry.name][i]
        ahead, finite = (depth, np.isfinite(depth)) if depth.ndim == 2 else (depth[..., 2], np.isfinite(depth).all(-1))
        keep = keep & finite & (ahead > 0)
    return keep


def _rows(row: Field, fields: Mapping[str, np.ndarray], array: np.ndarray) -> np.ndarray:
    if (within := fields.get(row.outside)) is None:
        return array
    keep = within[: len(array)]
    if row.moves == POSES:
        keep = keep | only_turns(array)
    if row.form == SCORE and (filled := fields.get(FIELDS[row.outside].filler)) is not None:
        keep = keep & ~filled[: len(array)]
    return np.where(keep.reshape(*keep.shape, *[1] * (array.ndim - keep.ndim)), array, array.dtype.type(row.unknown))
