"""Identity of hands over the seam between two segments: a hand keeps its number and its row.

Each segment counts its hands from 1. In the frames that two segments share, a hand of one is the hand of the other that
lies on it. All others are new, and get new numbers: a hand that comes back later is not known to be the same.
"""

from __future__ import annotations

import numpy as np

from geoflow.fields import FIELDS
from geoflow.geometry.hands.hand_rows import best_row

Fields = dict[str, np.ndarray]

_GROUP = "hands.all."
_SAME = 0.25  # of the hand's size: mean distance of joints below which two hands are one


def continued(held: Fields, now: Fields, shared: int, next_number: int) -> tuple[Fields, int]:
    """Return a segment's fields with its hands numbered on from the segment before, and the next number that is free.

    `held` has the `shared` frames of the segment before, `now` all frames of the segment. A hand that goes on stays in
    its row; others go where no other hand is. Where no row is left, a hand is not in the rows, and `hands.all.found`
    counts it.
    """
    old = {name: array for name, array in now.items() if name.startswith(_GROUP) and array.ndim > 1}
    new = {name: np.full_like(array, FIELDS[name].unknown) for name, array in old.items()}
    ids, taken = now[_GROUP + "id"], np.zeros(now[_GROUP + "id"].shape, bool)
    before, lost = np.zeros_like(ids), np.zeros(len(ids), int)
    before[:shared] = held[_GROUP + "id"] if shared else 0
    taken |= before > 0
    same = _matches(held, now, shared) if shared else {}
    for k in sorted(set(ids[ids > 0].tolist()), key=lambda k: (k not in same, _first(ids, k), k)):
        frames, rows = np.nonzero(ids == k)
        if k in same:
            number = same[k]
            there = before == number
            first = int(np.nonzero(there)[1][-1])
        else:
            number, next_number, there, first = next_number, next_number + 1, np.zeros_like(taken), int(rows[0])
        row = best_row(taken & ~there, (ids == k).any(1), first)
        stays = there[frames].any(1) & ~there[frames, row]  # the segment before has it there, in another row
        clash = (taken & ~there)[frames, row]
        lost[frames] += clash & ~stays
        frames, rows = frames[~stays & ~clash], rows[~stays & ~clash]
        for name, array in old.items():
            new[name][frames, row] = array[frames, rows]
        new[_GROUP + "id"][frames, row] = number
        taken[frames, row] = True
    found = np.maximum(now[_GROUP + "found"], taken.sum(1) + lost).astype(now[_GROUP + "found"].dtype)
    return now | new | {_GROUP + "found": found}, next_number


def _first(ids: np.ndarray, number: int) -> int:
    return int(np.nonzero(ids == number)[0][0])


def _matches(held: Fields, now: Fields, shared: int) -> dict[int, int]:
    """Return a number in `now` -> the number in `held` of the same hand: the most frames in common first, then the
    nearest."""
    before, after = held[_GROUP + "id"], now[_GROUP + "id"][:shared]
    pairs = []
    for a in np.unique(before[before > 0]):
        for b in np.unique(after[after > 0]):
            frames = np.flatnonzero((before == a).any(1) & (after == b).any(1))
            if not len(frames):
                continue
            one = held[_GROUP + "uv"][frames, (before[frames] == a).argmax(1)]
            other = now[_GROUP + "uv"][frames, (after[frames] == b).argmax(1)]
            size = np.linalg.norm(np.ptp(one, axis=1), axis=1)
            gap = float(np.median(np.linalg.norm(one - other, axis=2).mean(1) / np.maximum(size, 1e-6)))
            if gap <= _SAME:
                pairs.append((-len(frames), gap, int(a), int(b)))
    same: dict[int, int] = {}
    for _, _, a, b in sorted(pairs):
        if b not in same and a not in same.values():
            same[b] = a
    return same
