"""A coarse grid of a frame's pixels, at which things of other sizes are compared: priors, masks, the network's maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LONGER = 64  # points along the frame's longer side


@dataclass(frozen=True)
class FrameGrid:
    """Points (h, w) of frames of (height, width) px, the same whatever size the network works at."""

    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        longer = max(self.height, self.width)
        points = min(_LONGER, longer)
        return max(1, round(points * self.height / longer)), max(1, round(points * self.width / longer))

    @property
    def pixels(self) -> np.ndarray:
        """Where the points lie in frames, (h, w, 2) x, y in px, pixel centres on whole numbers."""
        rows, columns = self.size
        x = (np.arange(columns) + 0.5) * self.width / columns - 0.5
        y = (np.arange(rows) + 0.5) * self.height / rows - 0.5
        return np.stack(np.meshgrid(x, y), -1)

    def of(self, maps: np.ndarray) -> np.ndarray:
        """Return (..., h, w): the nearest values of maps (..., H, W), which show whole frames in whatever size."""
        rows, columns = (
            np.minimum((np.arange(points) + 0.5) * side / points, side - 1).astype(int)
            for points, side in zip(self.size, maps.shape[-2:])
        )
        return maps[..., rows[:, None], columns]
