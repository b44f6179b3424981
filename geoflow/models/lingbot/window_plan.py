"""How a video is divided into windows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WindowPlan:
    """How a video is divided."""

    scale_frames: int  # first frames of a window, which all see each other
    size: int | None = None  # frames that a window keeps; None: one window for everything
    overlap: int = 0  # frames that two windows share
    interval: int = 1  # frames from one kept frame to the next
    flow: tuple[float, int] | None = None  # threshold in px and longest gap: frames are kept by flow instead

    @property
    def length(self) -> int | None:
        """Frames of a window; None where it has no end, or flow decides."""
        if self.size is None or self.flow:
            return None
        return self.scale_frames + max(0, self.size - self.scale_frames) * self.interval

    def full(self, frames: int, kept: int) -> bool:
        """Whether a window with so many frames, `kept` of which are kept, takes no more."""
        if self.flow and self.size is not None:
            return kept >= self.size
        return self.length is not None and frames >= self.length

    def repeated(self, frames: int) -> int:
        """Return how many frames of a window the next one begins with, which has to get on by at least one frame."""
        return max(0, min(self.overlap, frames - (self.scale_frames if self.flow else 1)))

    def expected(self, frames: int | None) -> int:
        """Return how many frames a window will keep at most, of a video with so many frames; 0 if that is not known."""
        of_all = 0 if frames is None else min(frames, self.scale_frames + -(-frames // self.interval))
        if self.flow and of_all:
            of_all = frames or 0
        return min(of_all or self.size, self.size) if self.size is not None else of_all
