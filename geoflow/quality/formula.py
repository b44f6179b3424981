"""The formula of `quality`: how far depth and poses of frames can be believed, 0 to 1, from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ingredient:
    """One factor of the formula: how good a fact is, 0 to 1."""

    good: Callable[[np.ndarray], np.ndarray]
    formula: str  # as the page shows it


def _little(half: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return 1 / (1 + x / half): 1 for none of it, 0.5 for `half`."""
    return lambda x: 1 / (1 + np.maximum(x, 0) / half)


def _share(x: np.ndarray) -> np.ndarray:
    return np.clip(x, 0, 1)


# All count alike, and the values that halve one are round numbers about what sharp, textured footage reaches: they
# are not fitted. `geoflow bench quality` holds the result against true errors.
INGREDIENTS: dict[str, Ingredient] = {
    "coverage": Ingredient(_share, "coverage"),
    "depth_gap": Ingredient(_little(0.005), "1 / (1 + depth_gap / 0.005)"),
    "photometric": Ingredient(_share, "photometric, at least 0"),
    "focal_error": Ingredient(_little(0.03), "1 / (1 + focal_error / 0.03)"),
    "seam_residual": Ingredient(_little(0.02), "1 / (1 + seam_residual / 0.02)"),
}
HELD_AGAINST_NEIGHBOURS = ("depth_gap", "photometric")


def score(facts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the quality of T frames, (T,) float32, 0 to 1; NaN where the frame was not held against any neighbour.

    It is the geometric mean of the ingredients that are known. Where poses were looked for and the frame has none, or
    depth was and it has none, it is 0: there is nothing to believe.
    """
    lengths = {len(values) for values in facts.values()}
    if len(lengths) != 1:
        raise ValueError(f"facts of frames should be of one length, found {sorted(lengths)}")
    (count,) = lengths
    total, weights, judged = np.zeros(count), np.zeros(count), np.zeros(count, bool)
    for name, row in INGREDIENTS.items():
        if name in facts:
            value = np.asarray(facts[name], np.float64)
            known = np.isfinite(value)
            good = np.maximum(row.good(np.where(known, value, 1)), 1e-6)
            total += np.where(known, np.log(good), 0)
            weights += known
            judged |= known & (name in HELD_AGAINST_NEIGHBOURS)
    quality = np.exp(total / np.where(judged, weights, np.nan))
    for name in ("posed", "coverage"):
        if name in facts:
            quality = np.where(np.asarray(facts[name]) <= 0, 0.0, quality)
    return quality.astype(np.float32)


def used(facts: Mapping[str, np.ndarray]) -> list[str]:
    """Return the ingredients that are known in at least one frame."""
    return [name for name in INGREDIENTS if name in facts and np.isfinite(facts[name]).any()]
