"""What is known of a chapter's frames besides their pictures: a depth prior, and pixels that do not count."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from geoflow.geometry.depth.coarse_prior import CoarsePrior, disparity_at
from geoflow.models.lingbot.frame_grid import FrameGrid


class ChapterHints:
    """Kept at a coarse grid, by the number of the frame in its chapter."""

    def __init__(self, grid: FrameGrid) -> None:
        self.grid = grid
        self._prior = CoarsePrior(grid.pixels)
        self._ignored: dict[int, np.ndarray] = {}

    @property
    def has_prior(self) -> bool:
        """Whether any frame has a prior."""
        return len(self._prior) > 0

    def take_mask(self, first: int, mask: np.ndarray) -> None:
        """Take in masks (T, H, W) bool, whole frames in any size, of frames from `first` on: True does not count."""
        for frame, one in enumerate(self.grid.of(mask), first):
            if one.any():
                self._ignored[frame] = one | self._ignored.get(frame, False)

    def take_prior(self, first: int, disparity: np.ndarray, focal: np.ndarray) -> None:
        """Take in disparity (T, h, w) at the grid and focal lengths (T,), px, of frames from `first` on."""
        for frame, (one, length) in enumerate(zip(disparity, focal), first):
            self._prior.add(frame, one, float(length))

    def ignored(self, frame: int) -> np.ndarray | None:
        """Return the points (h, w) bool that do not count; None if all do."""
        return self._ignored.get(frame)

    def disparity(self, frame: int, focal: float) -> np.ndarray | None:
        """Return the prior's disparity (h, w) float32 for a focal length, px, 0 where unknown or not to be counted."""
        found, ignored = self._prior.of(frame, focal), self.ignored(frame)
        return found if found is None or ignored is None else np.where(ignored, np.float32(0), found)


def condensed_hints(grid: FrameGrid, fields: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what hints take of a segment's fields, as far as these are there, by the names of `ChapterHints`' values.

    `disparity` (T, h, w) float16 and `focal` (T,) float32 of `prior.*`; `label` (T, h, w) bool of `objects.label`.
    """
    found: dict[str, np.ndarray] = {}
    if all(f"prior.{name}" in fields for name in ("points", "mask", "intrinsics")):
        mask = fields["prior.mask"]
        depth = np.where(mask, fields["prior.points"][..., 2], 0)
        seen = mask.reshape(len(mask), -1).any(1)
        found["disparity"] = np.stack([disparity_at(one, grid.pixels) for one in depth])
        found["focal"] = np.where(seen, fields["prior.intrinsics"][:, 0, 0], 0).astype(np.float32)
    if "objects.label" in fields:
        found["label"] = grid.of(fields["objects.label"]) > 0
    return found
