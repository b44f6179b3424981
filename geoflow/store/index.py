"""The tables index.parquet and segments.parquet: the results of a run, readable by any Parquet reader."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoflow.errors import StoreError
from geoflow.quality.quality_columns import as_nulls
from geoflow.store.paths import RunPaths
from geoflow.store.schema import INDEX_COLUMNS, SECONDS_PREFIX, VIDEO_COLUMN, required_columns, segment_columns
from geoflow.store.whole import write_whole
from geoflow.values.packages import package

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def write_index(paths: RunPaths, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write index.parquet: a row per input, columns as in the schema; columns that a row lacks are null, and so are
    columns of quality that are unknown.

    Raises StoreError for a column that the schema lacks, and if the disk cannot be written.
    """
    _write(paths.index, map(as_nulls, rows), [(name, kind) for name, (kind, _) in INDEX_COLUMNS.items()])


def write_segments(paths: RunPaths, tables: Mapping[str, np.ndarray]) -> None:
    """Write segments.parquet from the `segments` tables of the videos (video name -> structured array)."""
    rows = [{VIDEO_COLUMN: name, **as_nulls(row)} for name, table in tables.items() for row in table_rows(table)]
    slots = sorted({name for row in rows for name in row if name.startswith(SECONDS_PREFIX)})
    columns = [(VIDEO_COLUMN, "string")]
    held = {*required_columns(), *(name for row in rows for name in row)}
    for name, (kind, _) in segment_columns().items():
        if name in held:
            columns.append((name, "string" if kind == "str" else kind))
        if name == "status":
            columns += [(slot, "float32") for slot in slots]
    _write(paths.segments, rows, columns)


def table_rows(table: np.ndarray) -> list[dict[str, Any]]:
    """Return a structured array as plain dictionaries; HDF5's byte strings become text."""
    names = table.dtype.names or ()
    return [
        {name: value.decode() if isinstance(value, bytes) else value for name, value in zip(names, row.tolist())}
        for row in table
    ]


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file as dictionaries.

    Raises StoreError if it is missing or broken, ConfigError if pyarrow is not installed.
    """
    pa, pq = (package(name, "pyarrow", f"reading {os.fspath(path)}") for name in ("pyarrow", "pyarrow.parquet"))

    try:
        with pq.ParquetFile(Path(path)) as file:  # read_table would import code for tables of many files
            return file.read().to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"cannot read {path}: {error}; expected a Parquet file that a run wrote") from error


def _write(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[tuple[str, str]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(rows)
    if unknown := sorted({name for row in rows for name in row} - {name for name, _ in columns}):
        raise StoreError(f"{path.name} has no columns {unknown}; geoflow/store/schema.py lists them all")
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns])
    arrays = [_column(pa, [row.get(field.name) for row in rows], field) for field in schema]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), sink)
    write_whole(path, sink.getvalue().to_pybytes())


def _column(pa: Any, values: list[Any], field: pa.Field) -> pa.Array:
    try:
        return pa.array(values, field.type, from_pandas=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise StoreError(f"column {field.name} should hold {field.type}: {error}") from error
