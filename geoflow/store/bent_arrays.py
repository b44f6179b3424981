"""Datasets of a part in a bent world: each frame's values move with the correction of the frame.

How a field moves follows from its row, as where `stitch` moves a segment.
"""

from __future__ import annotations

import numpy as np

from geoflow.geometry.loops.similarity import Similarities
from geoflow.store.schema import QUERY, Dataset
from geoflow.values.field import DEPTHS, DIRECTIONS, LENGTHS, PLACEMENTS, PLACES, POSE, POSES, STAYS

_HALF = np.finfo(np.float16)


def is_bent(row: Dataset, bends: Similarities) -> bool:
    """Return whether a dataset changes: of lengths, only if some frame's unit does."""
    if row.row.moves in (DEPTHS, LENGTHS):
        return bool((bends.scale != 1).any())
    return row.row.moves != STAYS


def bent(row: Dataset, values: np.ndarray, bends: Similarities, metres: np.ndarray | None = None) -> np.ndarray:
    """Return the values (T, ...) of a dataset in the bent world; `bends` are those of its T rows.

    Of queries (N, 4), which begin with the frame, `bends` are those of the whole video. `metres` holds the scene units
    per metre where the row names such a field: what has NaN there is in metres, and stays.
    """
    if row.layout == QUERY:
        moved = values.copy()
        held = np.isfinite(values).all(1)
        moved[held, 1:] = _applied(bends[values[held, 0].astype(int)], values[held, 1:].astype(np.float64))
        return moved
    return _RULES[row.row.moves](row, values, bends, metres).astype(values.dtype)


def bent_placement(values: np.ndarray, bends: Similarities) -> np.ndarray:
    """Return a matrix (4, 4) that maps something into the world, moved by one correction."""
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = bends.scale[0] * bends.rotation[0], bends.translation[0]
    return (moved @ values.astype(np.float64)).astype(values.dtype)


def _applied(bends: Similarities, points: np.ndarray) -> np.ndarray:
    """Move points (N, ..., 3), each row by its own."""
    flat = points.reshape(len(points), -1, 3)
    turned = bends.scale[:, None, None] * (flat @ np.swapaxes(bends.rotation, 1, 2))
    moved: np.ndarray = (turned + bends.translation[:, None]).reshape(points.shape)
    return moved


def _depths(row: Dataset, values: np.ndarray, bends: Similarities, metres: np.ndarray | None) -> np.ndarray:
    """What is known stays known: a value beyond float16's range stays at its end."""
    by = bends.scale.astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    scaled = values.astype(np.float32) * by
    scaled = np.clip(scaled, -float(_HALF.max), float(_HALF.max))
    z = slice(None) if row.take or values.ndim == 3 else slice(2, 3)
    scaled[..., z] = np.where(values[..., z] > 0, np.maximum(scaled[..., z], float(_HALF.smallest_subnormal)), 0)
    return scaled


def _lengths(row: Dataset, values: np.ndarray, bends: Similarities, metres: np.ndarray | None) -> np.ndarray:
    by = bends.scale.reshape(-1, *[1] * (len(row.row.axes) - 1))
    by = np.broadcast_to(by, values.shape[: len(row.row.axes)])
    if metres is not None:
        by = np.where(np.isfinite(metres), by, 1.0)
    moved = values.astype(np.float64)
    if row.row.form == POSE:
        moved[..., :3, 3] *= by[..., None]
        return moved
    return moved * by.reshape(*by.shape, *[1] * (values.ndim - by.ndim))


def _poses(row: Dataset, values: np.ndarray, bends: Similarities, metres: np.ndarray | None) -> np.ndarray:
    """Orientations alone turn with their frame, too."""
    moved = values.astype(np.float64)
    rotation = moved[:, :3, :3] @ np.swapaxes(bends.rotation, 1, 2)
    shift = np.einsum("nij,nj->ni", rotation, bends.translation)
    moved[:, :3, 3] = bends.scale[:, None] * moved[:, :3, 3] - shift
    moved[:, :3, :3] = rotation
    return moved


def _places(row: Dataset, values: np.ndarray, bends: Similarities, metres: np.ndarray | None) -> np.ndarray:
    return _applied(bends, values.astype(np.float64))


def _directions(row: Dataset, values: np.ndarray, bends: Similarities, metres: np.ndarray | None) -> np.ndarray:
    return np.einsum("nij,n...j->n...i", bends.rotation, values.astype(np.float64))


def _placements(row: Dataset, values: np.ndarray, bends: Similarities, metres: np.ndarray | None) -> np.ndarray:
    pairs = ((values[k], bends[k : k + 1]) for k in range(len(values)))
    return np.stack([bent_placement(one, by) for one, by in pairs]) if len(values) else values


_RULES = {
    DEPTHS: _depths,
    LENGTHS: _lengths,
    POSES: _poses,
    PLACES: _places,
    DIRECTIONS: _directions,
    PLACEMENTS: _placements,
}
