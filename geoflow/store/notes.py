"""Notes on a segment that programs read again: stages that did not run there, and stages that found nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_WITHOUT = re.compile(r"without (\w+): (.*)", re.DOTALL)
_LONGEST = 300  # characters of a reason, since a traceback is too long for a segment's row


def without(slot: str, reason: str) -> str:
    """Return the note on a segment for which a stage failed, or could not run at all."""
    line = next(iter(reason.strip().splitlines()), "no reason given")
    return f"without {slot}: {line if len(line) <= _LONGEST else line[: _LONGEST - 1] + '…'}"


def read_without(notes: Iterable[str]) -> dict[str, str]:
    """Return the stages that did not run on a segment, by slot with the reason, as its notes say."""
    return {match[1]: match[2] for note in notes if (match := _WITHOUT.fullmatch(note))}


def nothing_found(known: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return the note on stages that ran on a segment and gave nothing valid; [] if there are none.

    >>> nothing_found({"camera.depth": (0, 48), "camera.valid": (0, 2), "geometry.mask": (7, 48)})
    ['nothing found by camera']
    """
    most: dict[str, int] = {}
    for name, (valid, _) in known.items():
        slot = name.partition(".")[0]
        most[slot] = max(most.get(slot, 0), valid)
    empty = [slot for slot, valid in most.items() if not valid]
    return [f"nothing found by {', '.join(empty)}"] if empty else []
