"""How the datasets of the schema are created in an HDF5 file, and how a pipeline's fields become them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from geoflow.geometry.rigid import only_turns
from geoflow.store.schema import DATASETS, FRAME, QUERY, ROWS, TRACKS, Dataset

# A track lives in one segment, so its rows elsewhere are never touched; small tiles are then never allocated.
TRACK_TILE = (32, 256)  # frames, tracks


def shape_of(row: Dataset, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The symbolic shape in numbers: `T H W 3` with T=5, H=2, W=4 is (5, 2, 4, 3)."""
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
    return dataset


def wanted(fields: Mapping[str, np.ndarray], options: Mapping[str, bool]) -> list[Dataset]:
    """The datasets that these fields fill, less those whose option is off."""
    return [
        row
        for row in DATASETS.values()
        if row.field in fields
        and (not row.mask or row.mask in fields)
        and (not row.option or options.get(row.option, False))
    ]


def blocks(row: Dataset, fields: Mapping[str, np.ndarray], count: int) -> Iterator[tuple[Any, np.ndarray]]:
    """What to write where: (selection, array) pairs; dense maps come frame by frame to keep memory low.

    Invalid values are brought to the form that the schema promises: depth 0 with mask False, NaN poses and hands. Of a
    camera that only turns, the rotation is kept beside a NaN translation.
    """
    array = fields[row.field]
    if row.layout == FRAME:
        for i in range(count):
            yield i, _frame(row, fields, i)
    elif row.layout == ROWS:
        yield slice(0, count), _rows(row, fields, array[:count])
    elif row.layout in (TRACKS, QUERY):
        yield Ellipsis, array


def _frame(row: Dataset, fields: Mapping[str, np.ndarray], i: int) -> np.ndarray:
    value = fields[row.field][i]
    if row.name == "camera/depth":
        return np.where(np.isfinite(value) & (value > 0), value, np.float16(0))
    if row.name == "frames/rgb":
        return value
    group = row.field.rpartition(".")[0]
    points, mask = fields.get(f"{group}.points"), fields.get(f"{group}.mask")
    if points is None or mask is None:
        return value
    keep = mask[i] & np.isfinite(points[i]).all(-1) & (points[i, ..., 2] > 0)
    if value.dtype == bool:
        return keep
    if row.take == "z":
        return np.where(keep, value[..., 2], np.float16(0))
    return np.where(keep[..., None], value, np.float16(0))


def _rows(row: Dataset, fields: Mapping[str, np.ndarray], array: np.ndarray) -> np.ndarray:
    group, _, leaf = row.field.rpartition(".")
    if (
        leaf in ("valid", "filled")
        or row.name == "camera/motion"
        or not (row.name == "camera/cam_from_world" or "hands" in group)
    ):
        return array
    valid = fields.get(f"{group}.valid")
    if valid is None:
        return array
    keep = valid[: len(array)]
    if leaf == "cam_from_world":
        keep = keep | only_turns(array)
    return np.where(keep.reshape(-1, *[1] * (array.ndim - 1)), array, np.float32(row.fill))
