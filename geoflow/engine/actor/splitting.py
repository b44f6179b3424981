"""The last rung of every ladder: a segment that is too large for the memory is processed in two halves."""

from __future__ import annotations

import dataclasses

import numpy as np

from geoflow import fields
from geoflow.segments import Segment
from geoflow.stage import SHARED, Stage
from geoflow.values.field import NUMBER


def rungs(stage: type[Stage] | Stage, *, spans: bool = False) -> int:
    """Return how often a stage can fall back to less memory: its own ladder, then splitting if possible.

    `spans`: for the survey of a span, which cannot be split.
    """
    return len(stage.ladder) + int(can_split(stage) and not spans)


def can_split(stage: type[Stage] | Stage) -> bool:
    """Return whether a stage can be split: its outputs have one row per frame, and it carries no state between
    segments."""
    outputs = (*stage.outputs, *stage.optional_outputs)
    rows = bool(outputs) and all(fields.field(name).per_frame for name in outputs)
    return rows and stage.divisible and not stage.ordered


def process_in_halves(stage: Stage, segment: Segment, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the results of `stage.process` for the two halves of a segment, joined. The halves share no frame."""
    middle = segment.start + len(segment) // 2
    parts = []
    for start, stop in ((segment.start, middle), (middle, segment.stop)):
        rows = slice(start - segment.start, stop - segment.start)
        half = {name: array[rows] if _per_frame(name) else array for name, array in given.items()}
        part = dataclasses.replace(segment, start=start, stop=stop, overlap_before=0, overlap_after=0)
        parts.append(stage.process(part, half))
    both = parts[0].keys() & parts[1].keys()
    return {name: _joined(name, parts[0][name], parts[1][name]) for name in parts[0] if name in both}


def _joined(name: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    if fields.field(name).form == NUMBER:  # what the halves number are different things, as far as anyone knows
        second = np.where(second > 0, second + first.max(initial=0), second).astype(second.dtype)
    return np.concatenate([first, second])


def _per_frame(name: str) -> bool:
    return not name.startswith(SHARED) and fields.field(name).per_frame
