"""The quality of a store's frames: read from an open store, and written into it once all of its segments are known."""

from __future__ import annotations

import h5py
import numpy as np

from geoflow.quality.formula import score
from geoflow.quality.frame_facts import GROUP, SCORE, facts_of, seams_of
from geoflow.quality.quality_columns import FrameQuality
from geoflow.store.layout import create, shape_of
from geoflow.store.schema import datasets

_PLACE = SCORE.replace(".", "/")


def frame_quality(file: h5py.File, starts: np.ndarray, residuals: np.ndarray) -> FrameQuality:
    """Return what an open store knows of its frames. `starts` and `residuals` are those of its segments: the first
    frame, and the residual of the seam before it."""
    facts = facts_of(lambda name: _field(file, name), seams_of(starts, residuals, int(file.attrs["num_frames"])))
    return FrameQuality(facts, _field(file, SCORE))


def write_scores(file: h5py.File, starts: np.ndarray, residuals: np.ndarray) -> FrameQuality:
    """Write `quality/score` of a store whose frames were measured, and return what it knows of them now."""
    known = frame_quality(file, starts, residuals)
    if GROUP.rstrip(".") not in file:
        return known  # made by an earlier version: unknown, and `geoflow quality` can still measure it
    values = score(known.facts)
    if _PLACE in file:
        del file[_PLACE]
    row = datasets()[_PLACE]
    create(file, row, shape_of(row, {"T": len(values)}), 0)[()] = values
    return FrameQuality(known.facts, values)


def _field(file: h5py.File, name: str) -> np.ndarray | None:
    path = name.replace(".", "/")
    return file[path][()] if path in file else None
