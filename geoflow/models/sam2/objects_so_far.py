"""What is known of a video's objects after some of its segments: the state between them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geoflow.models.grounding_dino import Named
from geoflow.models.sam2.looking_back import EarlierSights
from geoflow.models.sam2.object_session import Shown
from geoflow.models.sam2.prompting import Prompts
from geoflow.models.sam2.video_pass import Sight
from geoflow.segments import Segment

_PASS, _EARLIER = "pass.", "earlier."
_MOST_GAPS = 1000


@dataclass
class ObjectsSoFar:
    """The objects up to frame `stop`, which is the next one. Frames count among those that are processed."""

    stop: int
    video_pass: dict[str, np.ndarray] = field(default_factory=dict)  # state of the pass over the frames
    earlier: dict[int, EarlierSights] = field(default_factory=dict)  # of objects that are shown later
    named: dict[int, Named] = field(default_factory=dict)  # what the text names, by the number of the object
    named_in: int = -1  # the frame in which it was looked for
    labelled: tuple[int, ...] = ()  # objects that the user labelled in the last frame
    gaps: list[tuple[int, int, int]] = field(default_factory=list)  # object, and the frames in which it is not seen
    lately: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8))  # labels of the last frames

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> ObjectsSoFar:
        """Return what `as_state` made a state of."""
        own: dict[str, dict[str, np.ndarray]] = {}
        for name, array in state.items():
            if name.startswith(_EARLIER):
                number, _, part = name.removeprefix(_EARLIER).partition(".")
                own.setdefault(number, {})[part] = array
        lately = np.frombuffer(zlib.decompress(state["lately"].tobytes()), np.uint8)
        return cls(
            int(state["stop"]),
            {name.removeprefix(_PASS): array for name, array in state.items() if name.startswith(_PASS)},
            {int(number): EarlierSights.of_state(rows) for number, rows in own.items()},
            {int(row[0]): Named(int(row[1]), row[2], (row[3], row[4], row[5], row[6])) for row in state["named"]},
            int(state["named_in"]),
            tuple(state["labelled"]),
            [(row[0], row[1], row[2]) for row in state["gaps"]],
            lately.reshape(state["lately_shape"]),
        )

    def as_state(self) -> dict[str, Any]:
        """Return arrays, and plain values that JSON has, too."""
        packed = zlib.compress(self.lately.tobytes(), 1)
        return {
            "stop": self.stop,
            "named": [[number, row.phrase, row.score, *row.box] for number, row in self.named.items()],
            "named_in": self.named_in,
            "labelled": list(self.labelled),
            "gaps": [list(row) for row in self.gaps],
            "lately": np.frombuffer(packed, np.uint8),
            "lately_shape": list(self.lately.shape),
            **{_PASS + name: array for name, array in self.video_pass.items()},
            **{
                f"{_EARLIER}{number}.{name}": array
                for number, rows in self.earlier.items()
                for name, array in rows.state().items()
            },
        }

    def done_of(self, segment: Segment) -> np.ndarray:
        """Return the labels (K, H, W) uint8 of the segment's first K frames, which the segment before had, too."""
        count = max(0, self.stop - segment.start)
        return self.lately[len(self.lately) - count :] if 0 < count <= len(self.lately) else self.lately[:0]

    def named_prompts(self) -> Prompts:
        """Return what the text names as prompts."""
        rows = {number: Shown(box=row.box) for number, row in self.named.items()}
        return {self.named_in: rows} if rows else {}

    def boxes(self, segment: Segment) -> np.ndarray:
        """Return what the text names: (T, R, 6) float32, number of the object, score, left, top, right, bottom; NaN in
        all frames except the one in which it was looked for."""
        found = np.full((len(segment), len(self.named), 6), np.nan, np.float32)
        if segment.start <= self.named_in < segment.stop:
            rows = [(number, row.score, *row.box) for number, row in self.named.items()]
            found[self.named_in - segment.start] = np.array(rows, np.float32).reshape(-1, 6)
        return found

    def seen_earlier(self, t: int, device: str) -> dict[int, Sight]:
        """Return what frame t shows of objects that the user shows only later."""
        found = {number: rows.sight(t, device) for number, rows in self.earlier.items()}
        return {number: sight for number, sight in found.items() if sight is not None}

    def note(self, t: int, sights: Mapping[int, Sight]) -> None:
        """Note which of the objects followed to frame t are not seen there."""
        for number in [number for number, sight in sights.items() if not sight.seen]:
            for k, (own, start, stop) in enumerate(self.gaps):
                if own == number and stop == t:
                    self.gaps[k] = (own, start, t + 1)
                    break
            else:
                if len(self.gaps) < _MOST_GAPS:
                    self.gaps.append((number, t, t + 1))

    def after(self, segment: Segment, video_pass: dict[str, np.ndarray], label: np.ndarray) -> None:
        """Bring it to the end of a segment whose labels are (T, H, W) uint8."""
        self.stop, self.video_pass = segment.stop, video_pass
        self.lately = label[len(label) - segment.overlap_after :].copy()
        later = {number: rows.later(segment.stop) for number, rows in self.earlier.items()}
        self.earlier = {number: rows for number, rows in later.items() if rows.packed}


def numbered(named: Iterable[Named], taken: Iterable[int], most: int) -> dict[int, Named]:
    """Return what a text names by numbers that the user has not given to other objects, as far as there are any.

    >>> list(numbered([Named(0, 0.9, (0, 0, 1, 1)), Named(0, 0.8, (0, 0, 2, 2))], taken=[1, 2], most=3))
    [3]
    """
    used = set(taken)
    return dict(zip([number for number in range(1, most + 1) if number not in used], named))
