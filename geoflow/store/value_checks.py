"""Checks that the values of a dataset are as its field's row promises: known values, unknown values, and their form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from geoflow.fields import FIELDS
from geoflow.geometry.rigid import only_turns
from geoflow.store.schema import FRAME, QUERY, ROWS, TRACKS, Dataset
from geoflow.values.field import COUNTING, FRAME_FIRST, GROWING, NAN, NUMBER, PINHOLE, POSE, POSES, SCORE, WORLD

if TYPE_CHECKING:
    import h5py

# float32 poses after a few matrix products are exact to about 1e-6; 1e-3 is a shear that would be visible.
_ORTHONORMAL = 1e-3
_BLOCK = 32  # frames of (T, N) datasets that are checked together


def wrong_values(file: h5py.File, row: Dataset) -> Iterator[str]:
    """Yield what is wrong with the values of one dataset of the file, one line each."""
    if row.layout == FRAME:
        yield from _maps(file, row)
    elif row.layout == ROWS:
        yield from _per_frame(file, row)
    elif row.layout in (TRACKS, QUERY):
        yield from _of_tracks(file, row)


def _maps(file: h5py.File, row: Dataset) -> Iterator[str]:
    values, mask = file[row.name], _held(file, row.row.outside)
    for i in range(len(values)):
        try:
            problem = _map(row, values[i], None if mask is None else mask[i])
        except (OSError, RuntimeError) as error:
            problem = f"cannot be read: {error}"
        if problem:
            yield f"{row.name} frame {i} {problem}"
            break  # one line per dataset is enough to know that it is broken


def _map(row: Dataset, value: np.ndarray, mask: np.ndarray | None) -> str:
    """Return what is wrong with one frame (H, W, ...) of a dense map; `mask` (H, W) says where it should be valid."""
    if value.dtype.kind == "f" and (odd := _odd(row, value)).any():
        return f"has {np.count_nonzero(odd)} values that are not finite"
    if row.row.depth:
        depth = value[..., 2] if value.ndim == 3 else value
        if (depth < 0).any():
            return "has negative depth"
        if mask is not None and (wrong := (depth > 0) != mask).any():
            return f"disagrees with its mask on {np.count_nonzero(wrong)} pixels (0 exactly where False)"
    elif mask is not None and (left := ~_unknown(row, value)[~mask]).any():
        return f"has {np.count_nonzero(left)} values outside {_in_file(row.row.outside)}"
    return ""


def _per_frame(file: h5py.File, row: Dataset) -> Iterator[str]:
    values = file[row.name][()]
    yield from _IN_ORDER.get(row.row.form, lambda row, values: [])(row, values)
    if values.dtype.kind == "f" and _odd(row, values).any():
        yield f"{row.name} has {np.count_nonzero(_odd(row, values))} values that are not finite"
    if (within := _where(file, row, row.row.outside)) is not None:
        yield from _outside(file, row, values, within)
    holds = _where(file, row, row.row.holds)
    if holds is None and row.row.form in (PINHOLE, POSE):
        holds = np.isfinite(values).all((1, 2))
    if holds is not None:
        yield from _inside(row, values, holds)


def _outside(file: h5py.File, row: Dataset, values: np.ndarray, within: np.ndarray) -> Iterator[str]:
    """Check frames, or rows of them, without values: they must hold the value that stands for unknown."""
    other = ""
    if row.row.moves == POSES:
        within, other = within | only_turns(values), ", except for a rotation"
    if row.row.form == SCORE and (filled := _held(file, FIELDS[row.row.outside].filler)) is not None:
        within, other = within & ~filled[()], ", and where nothing was seen"
    if not _unknown(row, values[~within]).all():
        blank = "False" if values.dtype == bool else f"{row.row.unknown:g}".replace("nan", "NaN")
        yield f"{row.name} should be {blank} where {_in_file(row.row.outside)} is False{other}"


def _inside(row: Dataset, values: np.ndarray, holds: np.ndarray) -> Iterator[str]:
    """Check the values of frames in which they are known."""
    finite = np.isfinite(values).reshape(*holds.shape, -1).all(-1)
    if (lost := holds & ~finite).any():
        yield f"{row.name} is not finite at a valid frame ({np.argwhere(lost)[0, 0]})"
    elif row.row.form == PINHOLE and (values[holds][:, [0, 1], [0, 1]] <= 0).any():
        yield f"{row.name} has a frame whose focal length is not positive"
    elif row.row.form == POSE:
        turns = only_turns(values) if row.row.space == WORLD else np.zeros_like(holds)
        yield from _rigid(row, values[holds | turns])


def _rigid(row: Dataset, poses: np.ndarray) -> Iterator[str]:
    """Yield faults of poses (N, 4, 4) that are not rigid motions; a translation may be unknown."""
    rotation = poses[:, :3, :3].astype(np.float64)
    error = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max((1, 2), initial=0)
    if (error > _ORTHONORMAL).any() or (np.linalg.det(rotation) < 0).any():
        yield f"{row.name} has a matrix that is not a rotation (error {error.max():.2g})"
    if not (poses[:, 3] == np.array([0, 0, 0, 1])).all():
        yield f"{row.name} has a last row other than 0 0 0 1"


def _counting(row: Dataset, values: np.ndarray) -> Iterator[str]:
    if (np.diff(values) <= 0).any() or (values < 0).any():
        fallen = np.flatnonzero(np.diff(values) <= 0)
        yield f"{row.name} does not strictly increase at frame {fallen[0] if len(fallen) else 0}"


def _growing(row: Dataset, values: np.ndarray) -> Iterator[str]:
    if not np.isfinite(values).all() or (np.diff(values) < 0).any():
        yield f"{row.name} is not finite and increasing"


def _score(row: Dataset, values: np.ndarray) -> Iterator[str]:
    if not ((values >= 0) & (values <= 1)).all():
        yield f"{row.name} should lie in 0..1"


_IN_ORDER: dict[str, Callable[[Dataset, np.ndarray], Iterator[str]]] = {
    COUNTING: _counting,
    GROWING: _growing,
    SCORE: _score,
}


def _of_tracks(file: h5py.File, row: Dataset) -> Iterator[str]:
    """Check datasets (T, N, ...) in blocks of frames, since they may be large."""
    values, holds, num_frames = file[row.name], _held(file, row.row.holds), file.attrs["num_frames"]
    if 0 in values.shape:
        return
    if row.row.form == FRAME_FIRST and not ((values[:, 0] >= 0) & (values[:, 0] < num_frames)).all():
        yield f"{row.name} names a frame outside 0..{num_frames - 1}"
    if row.row.form == NUMBER and ((values[:] < 1).any() or len(np.unique(values[:])) != len(values)):
        yield f"{row.name} should have numbers from 1 on, each once"
    for start in range(0, len(values) if values.dtype.kind == "f" else 0, _BLOCK):
        block = values[start : start + _BLOCK]
        if _odd(row, block).any():
            yield f"{row.name} holds infinite values (rows from {start})"
            return
        if holds is not None and not np.isfinite(block[holds[start : start + _BLOCK]]).all():
            yield f"{row.name} is not finite where {_in_file(row.row.holds)} is True (frames from {start})"
            return


def _odd(row: Dataset, values: np.ndarray) -> np.ndarray:
    """Return where floats are neither finite nor the row's value for unknown."""
    return np.isinf(values) if row.row.invalid == NAN else ~np.isfinite(values)


def _unknown(row: Dataset, values: np.ndarray) -> np.ndarray:
    return np.isnan(values) if row.row.invalid == NAN else values == 0


def _held(file: h5py.File, field: str) -> h5py.Dataset | None:
    return file.get(_in_file(field)) if field else None


def _where(file: h5py.File, row: Dataset, field: str) -> np.ndarray | None:
    """Return where a bool field is True: for each value of `row` if both have the same axes, otherwise the frames (T,)
    in which it is True anywhere. None if the file does not hold the field."""
    if (dataset := _held(file, field)) is None:
        return None
    axes = FIELDS[field].axes
    return dataset[()] if row.row.axes[: len(axes)] == axes else np.array([part.any() for part in dataset], bool)


def _in_file(field: str) -> str:
    return field.replace(".", "/")
