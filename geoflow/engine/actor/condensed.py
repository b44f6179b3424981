"""What segments condensed for a survey, brought to the frames of the span that it reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from geoflow.stage import CONDENSED, Fields


def with_condensed(pieces: Iterable[Fields], start: int, given: Mapping[str, np.ndarray]) -> Iterator[Fields]:
    """Yield the pieces of a span that begins with frame `start`, with rows of what `given` has of `condensed_fields`.

    Of a frame that two segments show, the earlier segment's row is taken. A piece is divided where frames without any
    follow on frames with some, and so that what one piece has comes from one segment.
    """
    segments = _by_segment(given)
    for piece in pieces:
        stop = start + len(piece["frames.rgb"])
        at = start
        while at < stop:
            own = next((s for s in segments if s[0] <= at < s[1]), None)
            later = [first for first, _, _ in segments if first > at]
            until = min(stop, own[1] if own is not None else min(later, default=stop))
            part = {name: array[at - start : until - start] for name, array in piece.items()}
            if own is not None:
                part |= {CONDENSED + name: array[at - own[0] : until - own[0]] for name, array in own[2].items()}
            yield part
            at = until
        start = stop


def _by_segment(given: Mapping[str, np.ndarray]) -> list[tuple[int, int, Fields]]:
    """Return (first frame, the one after the last, arrays) of each segment, in their order."""
    found: dict[int, Fields] = {}
    for name, array in given.items():
        if name.startswith(CONDENSED):
            first, _, own = name.removeprefix(CONDENSED).partition(".")
            found.setdefault(int(first), {})[own] = array
    return [(first, first + len(next(iter(own.values()))), own) for first, own in sorted(found.items())]
