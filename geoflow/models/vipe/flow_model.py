"""What the tracker asks of a network: how pixels move between frames. Another source of flow can take its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Parts = tuple[Tensor, ...]  # tensors with one row per edge


@dataclass(frozen=True)
class View:
    """What is remembered of a frame."""

    features: Tensor
    hidden: Tensor | None = None  # of keyframes
    context: Tensor | None = None


class FlowModel(Protocol):
    """Pixels are those of the grid, at an eighth of the working size; flows are (E, 2, h, w), x before y."""

    def look(self, rgb: Tensor, frame: int) -> View:
        """Return what is compared of a frame (3, H, W), RGB in 0..1, that has the number `frame`."""

    def enter(self, view: View, rgb: Tensor) -> View:
        """Return what else is needed of a frame that becomes a keyframe."""

    def motion(self, keyframe: View, view: View) -> Tensor:
        """Return the flow (2, h, w) from a keyframe to a frame, as seen at a glance."""

    def start(self, sources: list[View]) -> Tensor:
        """Return the hidden states (E, ...) of new edges."""

    def compare(self, sources: list[View], targets: list[View]) -> Parts:
        """Return what stays the same of edges while they are updated."""

    def update(
        self, hidden: Tensor, compared: Parts, coords: Tensor, motion: Tensor, frame: Tensor, count: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return hidden states, the correction of coords and its weights (E, 2, h, w), and damping (count, h, w).

        coords (E, 2, h, w) is where pixels lie in the target by the poses, motion (E, 4, h, w) how far that is, and how
        far from the last target; frame (E,) numbers the edges' sources from 0 to count - 1.
        """


def chosen(parts: Parts, which: Tensor) -> Parts:
    """Return some edges' rows."""
    return tuple(part[which] for part in parts)


def joined(first: Parts | None, second: Parts) -> Parts:
    """Return the rows of both."""
    return second if first is None else tuple(torch.cat(pair) for pair in zip(first, second, strict=True))
