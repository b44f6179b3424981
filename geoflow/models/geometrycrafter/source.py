"""Reading a video and its prior, some frames at a time, to the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geoflow.models.geometrycrafter.given import Frames, check_given
from geoflow.models.geometrycrafter.resizing import Size, bicubic


class Source:
    """Frames (T, H, W, 3) u8 with the points (T, H, W, 3) and the mask (T, H, W) of their prior.

    Nothing is kept: every frame is read once, every prior twice. `downsample_ratio` makes both smaller on the way.
    """

    def __init__(
        self, frames: Frames, points: Frames, mask: Frames, device: torch.device, downsample_ratio: float = 1.0
    ) -> None:
        check_given(frames, points, mask)
        self._frames, self._points, self._mask = frames, points, mask
        self._device = device
        self.num_frames: int = frames.shape[0]
        self.full_size: Size = (frames.shape[1], frames.shape[2])
        height, width = (max(1, round(side / downsample_ratio)) for side in self.full_size)
        self.size: Size = (height, width)

    def frames(self, start: int, stop: int) -> Tensor:
        """Frames (N, 3, H, W) float32 in 0..1."""
        part = self._read(self._frames, start, stop).permute(0, 3, 1, 2).float() / 255
        return bicubic(part, self.size)

    def prior(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Points (N, H, W, 3) float32 and mask (N, H, W) bool."""
        points, mask = (self._read(rows, start, stop) for rows in (self._points, self._mask))
        if self.size != self.full_size:
            rows, columns = (_nearest(full, small) for full, small in zip(self.full_size, self.size))
            points, mask = (part[:, rows][:, :, columns] for part in (points, mask))
        return points.float(), mask.bool()

    def _read(self, rows: Frames, start: int, stop: int) -> Tensor:
        # Copied: the input may be shared, read-only memory.
        return torch.from_numpy(np.array(rows[start:stop])).to(self._device)


def _nearest(full: int, small: int) -> Tensor:
    """Return, for each of `small` pixels, the pixel of `full` that holds its centre."""
    return ((torch.arange(small) + 0.5) * (full / small)).long()
