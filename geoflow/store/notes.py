"""Notes in a segment's row of the store that are read again: what was not computed there, and what found nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_WITHOUT = re.compile(r"without (\w+): (.*)", re.DOTALL)
_LONGEST = 300  # characters of a reason; a segment's row is no place for a traceback


def without(slot: str, reason: str) -> str:
    """The note on a segment that has nothing of a stage, since the stage failed there or could not run at all."""
    line = next(iter(reason.strip().splitlines()), "no reason given")
    return f"without {slot}: {line if len(line) <= _LONGEST else line[: _LONGEST - 1] + '…'}"


def read_without(notes: Iterable[str]) -> dict[str, str]:
    """Slot -> reason, of the stages that these notes of one segment are without."""
    return {match[1]: match[2] for note in notes if (match := _WITHOUT.fullmatch(note))}


def nothing_found(known: Mapping[str, tuple[int, int]]) -> list[str]:
    """The note on stages that ran on a segment and gave nothing valid, from `geoflow.fields.known_share`; [] if none.

    >>> nothing_found({"camera.depth": (0, 48), "camera.valid": (0, 2), "geometry.mask": (7, 48)})
    ['nothing found by camera']
    """
    most: dict[str, int] = {}
    for name, (valid, _) in known.items():
        slot = name.partition(".")[0]
        most[slot] = max(most.get(slot, 0), valid)
    empty = [slot for slot, valid in most.items() if not valid]
    return [f"nothing found by {', '.join(empty)}"] if empty else []
