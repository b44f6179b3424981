"""Videos of any length in windows, each a stream of its own, which are brought together where they overlap."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from geoflow.models.lingbot.alignment import Frame, Placement, align
from geoflow.models.lingbot.keyframes import PASSED, SCALE, ByFlow, ByInterval
from geoflow.models.lingbot.network import Stream
from geoflow.models.lingbot.window_plan import WindowPlan

Watch = Callable[[str, Any], None]


def run_windows(
    open_stream: Callable[[], Stream], pictures: Iterable[Tensor], plan: WindowPlan, watch: Watch | None = None
) -> Iterator[Frame]:
    """Yield a frame for each of the pictures (3, H, W) in 0..1, in the first window's world and scale.

    Of a frame that two windows have, the later window's result counts. So results of one overlap are held back, and so
    are its pictures. `open_stream` gives each window a stream of its own.
    """
    source = _Source(pictures)
    ended: deque[Frame] = deque()  # the last frames of the window before, placed
    while source.more:
        placed: deque[Frame] = deque()
        waiting: list[Frame] = []  # frames of this window, until it can be placed
        placement: Placement | None = None
        for frame, last in _window(open_stream(), source, plan, watch):
            waiting.append(frame)
            if placement is None and (last or len(waiting) >= len(ended)):
                placement = align(ended, waiting)
                watch("placed", placement) if watch else None
            if placement is not None:
                placed.extend(placement.place(row) if ended else row for row in waiting)
                waiting.clear()
            while len(placed) > plan.overlap:
                yield placed.popleft()
        ended = placed
    yield from ended


class _Source:
    """Pictures, with those of an overlap once more."""

    def __init__(self, pictures: Iterable[Tensor]) -> None:
        self._pictures = iter(pictures)
        self._ahead: deque[Tensor] = deque()
        self._fresh = False

    @property
    def more(self) -> bool:
        """Whether there is a picture that nobody has had yet."""
        if not self._fresh:
            ahead = list(itertools.islice(self._pictures, 1))
            self._ahead.extend(ahead)
            self._fresh = bool(ahead)
        return self._fresh

    def take(self) -> Tensor:
        """Return the next picture; ask for `more` before."""
        picture = self._ahead.popleft()
        self._fresh = self._fresh and bool(self._ahead)
        return picture

    def again(self, pictures: Iterable[Tensor]) -> None:
        """Give these pictures once more, before the others."""
        self._ahead.extendleft(reversed(list(pictures)))


def _window(stream: Stream, source: _Source, plan: WindowPlan, watch: Watch | None) -> Iterator[tuple[Frame, bool]]:
    """Yield the frames of one window, in a world of its own, and whether each is the last one."""
    rule = ByFlow(*plan.flow) if plan.flow else ByInterval(plan.interval)
    held: deque[Tensor] = deque(maxlen=plan.overlap)
    first: list[Tensor] = []
    while len(first) < plan.scale_frames and source.more:
        first.append(source.take())
    held.extend(first)
    seen = stream.begin(torch.stack(first))
    found, last = [Frame(seen[k : k + 1], SCALE) for k in range(len(first))], seen[-1:]
    count = kept = len(first)
    while True:
        more = source.more and not plan.full(count, kept)
        if not more:
            source.again(list(held)[len(held) - plan.repeated(count) :] if source.more else ())
        for k, frame in enumerate(found):
            watch("frame", frame) if watch else None
            yield frame, not more and k == len(found) - 1
        if not more:
            watch("end", count) if watch else None
            return
        picture = source.take()
        held.append(picture)
        one, kind = rule.take(stream, picture[None], count - len(first), last)
        watch("flow", rule.flow) if watch and isinstance(rule, ByFlow) else None
        last = last if kind == PASSED else one
        found = [Frame(one, kind)]
        count, kept = count + 1, kept + (kind != PASSED)
