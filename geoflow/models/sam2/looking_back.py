"""The frames before an object was first shown: followed from there to the first frame, and kept small until needed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from geoflow.models.sam2.object_session import Shown
from geoflow.models.sam2.video_pass import Sam2, Sight

_STEPS = 8  # of a logit's unit; +-127 of them are more than what decides between objects
_LARGEST = 127


@dataclass(frozen=True)
class EarlierSights:
    """What frames [start, stop) show of an object, by frame: logits in eighths, packed. Some kilobytes a frame."""

    start: int
    packed: tuple[bytes, ...]  # (h, w) int8 by zlib; empty where the object is not seen
    side: int  # h and w

    @property
    def stop(self) -> int:
        return self.start + len(self.packed)

    def sight(self, t: int, device: str | torch.device) -> Sight | None:
        """Return what frame t shows of the object; None for a frame of which nothing is known."""
        if not self.start <= t < self.stop:
            return None
        if not (data := self.packed[t - self.start]):
            return Sight(torch.full((self.side, self.side), -1024.0, device=device), -1.0)
        steps = np.frombuffer(zlib.decompress(data), np.int8).reshape(self.side, self.side)
        return Sight(torch.from_numpy(steps.astype(np.float32) / _STEPS).to(device), 1.0)

    def later(self, t: int) -> EarlierSights:
        """Return the same without frames before t."""
        return EarlierSights(max(t, self.start), self.packed[max(t - self.start, 0) :], self.side)

    def state(self) -> dict[str, np.ndarray]:
        return {
            "facts": np.array([self.start, self.side], np.int64),
            "sizes": np.array([len(data) for data in self.packed], np.int64),
            "data": np.frombuffer(b"".join(self.packed), np.uint8),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, np.ndarray]) -> EarlierSights:
        start, side = state["facts"].tolist()
        data, ends = state["data"].tobytes(), np.cumsum(state["sizes"]).tolist()
        return cls(start, tuple(data[a:b] for a, b in zip([0, *ends], ends)), side)


def look_back(
    model: Sam2, frames: Iterable[tuple[int, np.ndarray]], firsts: Mapping[int, tuple[int, Shown]]
) -> dict[int, EarlierSights]:
    """Return what the frames before its first prompt show of each object.

    `frames` are pairs of a number and a picture (H, W, 3) uint8, from the last frame that shows an object of `firsts`
    for the first time down to frame 0. `firsts` says for each object in which frame that is, and how it is shown.
    """
    run = model.begin(reverse=True)
    found: dict[int, list[bytes]] = {number: [] for number in firsts}
    side, last = 1, 0
    for last, rgb in frames:
        shown = {number: prompt for number, (t, prompt) in firsts.items() if t == last}
        for number, sight in run.step(last, rgb, shown).items():
            side = len(sight.logits)
            if number not in shown:
                found[number].append(_pack(sight))
    return {number: EarlierSights(last, tuple(reversed(rows)), side) for number, rows in found.items() if rows}


def _pack(sight: Sight) -> bytes:
    if not sight.seen:
        return b""
    steps = (sight.logits * _STEPS).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
    return zlib.compress(steps.cpu().numpy().tobytes(), 1)
