"""What is known of a video's objects after some of its segments: the state between them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geoflow.fields import OBJECT_AWAITED, OBJECT_LOST, OBJECT_SEEN
from geoflow.geometry.labels import numbers_in
from geoflow.models.sam2.looking_back import EarlierSights
from geoflow.models.sam2.object_session import Shown
from geoflow.models.sam2.prompting import Prompts
from geoflow.models.sam2.video_pass import Sight
from geoflow.segments import Segment

_PASS, _EARLIER = "pass.", "earlier."
_NUMBERS = 256  # columns of `objects.state`


@dataclass(frozen=True)
class NamedBox:
    """What the user's words named."""

    frame: int
    object: int
    score: float  # 0..1
    box: tuple[float, float, float, float]  # left, top, right, bottom in px


@dataclass
class ObjectsSoFar:
    """The objects up to frame `stop`, which is the next one. Frames count among those that are processed."""

    stop: int
    video_pass: dict[str, np.ndarray] = field(default_factory=dict)  # state of the pass over the frames
    earlier: dict[int, EarlierSights] = field(default_factory=dict)  # of objects that are shown later
    named: tuple[NamedBox, ...] = ()
    unfound: tuple[int, ...] = ()  # objects of which the user's words found nothing
    label: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 1), np.uint8))  # of the last frames
    seen: np.ndarray = field(default_factory=lambda: np.zeros((0, _NUMBERS), np.uint8))  # `objects.state` of these

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> ObjectsSoFar:
        """Return what `as_state` made a state of."""
        own: dict[str, dict[str, np.ndarray]] = {}
        for name, array in state.items():
            if name.startswith(_EARLIER):
                number, _, part = name.removeprefix(_EARLIER).partition(".")
                own.setdefault(number, {})[part] = array
        label = np.frombuffer(zlib.decompress(state["label"].tobytes()), np.uint8)
        return cls(
            int(state["stop"]),
            {name.removeprefix(_PASS): array for name, array in state.items() if name.startswith(_PASS)},
            {int(number): EarlierSights.of_state(rows) for number, rows in own.items()},
            tuple(NamedBox(row[0], row[1], row[2], (row[3], row[4], row[5], row[6])) for row in state["named"]),
            tuple(state["unfound"]),
            label.reshape(state["label_shape"]),
            np.array(state["seen"]),
        )

    def as_state(self) -> dict[str, Any]:
        """Return arrays, and plain values that JSON has, too."""
        return {
            "stop": self.stop,
            "named": [[row.frame, row.object, row.score, *row.box] for row in self.named],
            "unfound": list(self.unfound),
            "label": np.frombuffer(zlib.compress(self.label.tobytes(), 1), np.uint8),
            "label_shape": list(self.label.shape),
            "seen": self.seen,
            **{_PASS + name: array for name, array in self.video_pass.items()},
            **{
                f"{_EARLIER}{number}.{name}": array
                for number, rows in self.earlier.items()
                for name, array in rows.state().items()
            },
        }

    def take_over(self, segment: Segment, label: np.ndarray, seen: np.ndarray) -> int:
        """Fill in labels (T, H, W) and `objects.state` (T, 256) of frames that the segment before had, too; return how
        many these are."""
        count = max(0, self.stop - segment.start)
        if count > len(self.label):
            return 0
        if count:
            label[:count], seen[:count] = self.label[-count:], self.seen[-count:]
        return count

    def named_prompts(self) -> Prompts:
        """Return what the user's words named as prompts."""
        found: Prompts = {}
        for row in self.named:
            found.setdefault(row.frame, {})[row.object] = Shown(box=row.box)
        return found

    def boxes(self, segment: Segment) -> np.ndarray:
        """Return `objects.box` of a segment's frames, (T, R, 6) float32; NaN except where words were looked for."""
        found = np.full((len(segment), len(self.named), 6), np.nan, np.float32)
        for k, row in enumerate(self.named):
            if segment.start <= row.frame < segment.stop:
                found[row.frame - segment.start, k] = (row.object, row.score, *row.box)
        return found

    def seen_earlier(self, t: int, device: str) -> dict[int, Sight]:
        """Return what frame t shows of objects that the user shows only later."""
        found = {number: rows.sight(t, device) for number, rows in self.earlier.items()}
        return {number: sight for number, sight in found.items() if sight is not None}

    def states(self, label: np.ndarray, followed: Iterable[int], later: Iterable[int]) -> np.ndarray:
        """Return the row (256,) of `objects.state` for a frame with this label map (H, W).

        `followed` are the objects that were looked for in it, `later` those that have a prompt in a later frame.
        """
        row = np.zeros(_NUMBERS, np.uint8)
        row[list(later)] = OBJECT_AWAITED
        row[[*followed, *self.unfound]] = OBJECT_LOST
        row[numbers_in([label])] = OBJECT_SEEN
        return row

    def advance(self, segment: Segment, video_pass: dict[str, np.ndarray], label: np.ndarray, seen: np.ndarray) -> None:
        """Come to the end of a segment with these labels and states."""
        self.stop, self.video_pass = segment.stop, video_pass
        shared = slice(len(label) - segment.overlap_after, None)
        self.label, self.seen = label[shared].copy(), seen[shared].copy()
        later = {number: rows.later(segment.stop) for number, rows in self.earlier.items()}
        self.earlier = {number: rows for number, rows in later.items() if rows.packed}
