"""Sentences on cameras that rest on a prior: the unit of their lengths, their lens, and frames without depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from geoflow.fields import (
    DEPTH_CONTRARY,
    DEPTH_FLAT,
    DEPTH_UNSEEN,
    LENS_FROM_GUESS,
    LENS_FROM_PRIOR,
    LENS_FROM_STATED,
    UNIT_OWN,
    UNIT_PRIOR,
    UNIT_TOO_FEW,
    UNIT_UNSTEADY,
)

_UNITS = {
    UNIT_OWN: "no prior was given",
    UNIT_TOO_FEW: "too few frames have a prior",
    UNIT_UNSTEADY: "the prior's scale differs too much between frames",
}
_LENSES = {
    LENS_FROM_STATED: "what the file states",
    LENS_FROM_PRIOR: "what the prior says",
    LENS_FROM_GUESS: "a guess",
}
_REFUSED = {
    DEPTH_FLAT: "the prior has no relief where the tracker sees some",
    DEPTH_CONTRARY: "the shape of the prior is not what the tracker sees",
    DEPTH_UNSEEN: "the tracker knows too few of the pixels that the prior knows",
}


def camera_remarks(file: Mapping[str, Any], *, metric: bool) -> Iterator[str]:
    """Yield what the datasets `camera/unit`, `camera/lens` and `camera/depth_source` say, as far as a store has them.

    `metric` is the store's attribute.
    """
    valid = file["camera/valid"][:]
    if "camera/unit" in file and not metric and valid.any():
        yield from _unit(file["camera/unit"][:][valid])
    if "camera/lens" in file:
        lens = file["camera/lens"][:][valid]
        for code, begun in _LENSES.items():
            if (lens == code).any():
                yield f"The focal length was not given. It was found, and the search began with {begun}."
    if "camera/depth_source" in file:
        source = file["camera/depth_source"][:]
        for code, why in _REFUSED.items():
            if count := int((source == code).sum()):
                yield f"{count} of {len(source)} frames have no camera depth: {why} (camera/depth_source)."


def _unit(unit: np.ndarray) -> Iterator[str]:
    """Yield why lengths are not in metres; `unit` is that of the frames with a pose."""
    if (unit == UNIT_PRIOR).all():
        yield "Lengths are not in metres: they have the unit of the prior, and its stage does not state metres."
    for code, why in _UNITS.items():
        if count := int((unit == code).sum()):
            yield f"Lengths of the camera stage are not in metres in {count} frames: {why}."
