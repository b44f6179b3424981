"""Rows of hands: how the hands of a segment become `hands.all.*`, a row per hand, and `hands.left.*` and `.right.*`.

Any backend fills them: it states each hand's side and arrays through the segment, and nothing here depends on how they
were found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geoflow.fields import FIELDS, HAND_SIDES
from geoflow.geometry.hands.hand_sides import SIDES

ARRAYS = ("valid", "filled", "joints", "wrist", "uv", "confidence", "scale")  # of each hand, one entry per frame


def names_of(arrays: Sequence[str]) -> tuple[str, ...]:
    """Return the fields of arrays that every hand has, by their last names."""
    return tuple(f"hands.{group}.{name}" for group in (*SIDES, "all") for name in arrays)


GIVEN = names_of(ARRAYS) + tuple(f"hands.all.{name}" for name in ("id", "side", "right", "found"))


@dataclass
class HandArrays:
    """One hand through a segment of T frames."""

    side: str  # "left" or "right"
    right: float  # 0..1, probability that it is a right hand
    strength: float  # how much it counts where rows are lacking; only comparisons matter
    arrays: dict[str, np.ndarray]  # ARRAYS and maybe more, such as mano_pose: as in the field table, without R


def empty(
    count: int, names: Sequence[str] = ARRAYS, *, group: str = "hands.left", rows: int = 0
) -> dict[str, np.ndarray]:
    """Return arrays of T = `count` frames in which no hand is known, by their last names."""
    size = {"T": count, "R": rows}
    found = {}
    for name in names:
        row = FIELDS[f"{group}.{name}"]
        shape = [int(symbol) if symbol.isdigit() else size[symbol] for symbol in row.shape.split()]
        found[name] = np.full(shape, row.unknown, row.dtype)
    return found


def hand_fields(
    hands: Sequence[HandArrays],
    main: Mapping[str, Mapping[str, np.ndarray]],
    count: int,
    rows: int,
    names: Sequence[str] = ARRAYS,
) -> dict[str, np.ndarray]:
    """Return `hands.left.*`, `hands.right.*` and `hands.all.*` of a segment of `count` frames.

    `main` holds the arrays of the main hand of each side. The strongest hands get the `rows` rows of `hands.all`. A
    hand stays in its row. Where there are more hands than rows, hands share a row; each has its own `id`, and the
    stronger one has the frames that both are in. `found` counts all hands.
    `names` are the arrays that every hand has.
    """
    numbered = [*names, "id", "side", "right"]
    every = empty(count, [*numbered, "found"], group="hands.all", rows=rows)
    for hand in hands:
        every["found"] += hand.arrays["valid"]
    placed = []
    for hand in sorted(hands, key=lambda hand: -hand.strength):
        valid = hand.arrays["valid"]
        row = best_row(every["valid"], valid)
        there = valid & ~every["valid"][:, row]
        if there.any():
            every["valid"][there, row] = True
            placed.append((int(there.argmax()), row, hand, there))
    for number, (_, row, hand, there) in enumerate(sorted(placed, key=lambda entry: entry[:2]), 1):
        for name in names:
            every[name][there, row] = hand.arrays[name][there]
        every["id"][there, row] = number
        every["side"][there, row] = HAND_SIDES.index(hand.side)
        every["right"][there, row] = hand.right
    fields = {f"hands.{side}.{name}": main[side][name] for side in SIDES for name in names}
    return fields | {f"hands.all.{name}": array for name, array in every.items()}


def best_row(taken: np.ndarray, wanted: np.ndarray, first: int | None = None) -> int:
    """Return the row for a hand: one that is free in its frames, of these `first` or else one never used; if there is
    none, the row that is free in most of its frames. taken (T, R) bool, wanted (T,) bool."""
    clashes = (taken & wanted[:, None]).sum(0)
    order = [(int(n), row != first, bool(taken[:, row].any()), row) for row, n in enumerate(clashes)]
    return min(order)[-1]
