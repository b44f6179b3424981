"""Frames, cameras, masks and depth at the size that the tracker works at, a multiple of eight.

Principal points count from the picture's edge here, as ViPE has them: a centred camera has half the width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

AREA = 384 * 512  # pixels
GRID = 8
_SAMPLE = 3  # the pixel of each eight by eight that stands for them in the depth prior
_VALID = 0.9  # share of valid pixels from which on a resized pixel is valid


@dataclass(frozen=True)
class Fit:
    """How frames of one size become pictures of the working size: resized, then cut at their edges."""

    frame: tuple[int, int]  # height, width
    resized: tuple[int, int]
    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return self.resized[0] - self.top - self.bottom, self.resized[1] - self.left - self.right

    def picture(self, rgb: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
        """Return (3, h, w) float32 in 0..1 of a frame (H, W, 3), uint8 or in 0..1."""
        values = _tensor(rgb).to(device)
        values = values.movedim(-1, 0).float()
        return self._cut(self._resize(values / 255 if rgb.dtype == np.uint8 else values))

    def depth(self, depth: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
        """Return (h, w) of a depth map (H, W)."""
        values = _tensor(depth).float().to(device)
        return self._cut(self._resize(values[None]))[0]

    def valid(self, mask: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
        """Return (h, w) bool of a mask (H, W) that is True where pixels are valid."""
        values = _tensor(mask).float().to(device)
        return self._cut(self._resize(values[None]) > _VALID)[0]

    def intrinsics(self, given: np.ndarray) -> np.ndarray:
        """Return the camera (4 or more,) of pictures; `given` is that of frames."""
        made = np.array(given, np.float64)
        made[0:4:2] *= self.resized[1] / self.frame[1]
        made[1:4:2] *= self.resized[0] / self.frame[0]
        made[2:4] -= self.left, self.top
        return made

    def grid_pixels(self) -> np.ndarray:
        """Return where the grid's pixels are in frames, (h, w, 2) px with centres on whole numbers."""
        height, width = (side // GRID for side in self.size)
        x = (GRID * np.arange(width) + self.left) * self.frame[1] / self.resized[1] - 0.5
        y = (GRID * np.arange(height) + self.top) * self.frame[0] / self.resized[0] - 0.5
        return np.stack(np.meshgrid(x, y), -1)

    def original_intrinsics(self, found: np.ndarray) -> np.ndarray:
        """Return the camera of frames; `found` is that of pictures."""
        made = np.array(found, np.float64)
        made[2:4] += self.left, self.top
        made[0:4:2] *= self.frame[1] / self.resized[1]
        made[1:4:2] *= self.frame[0] / self.resized[0]
        return made

    def _resize(self, values: Tensor) -> Tensor:
        if self.resized == self.frame:
            return values
        return F.interpolate(values[None], self.resized, mode="bilinear")[0]

    def _cut(self, values: Tensor) -> Tensor:
        height, width = values.shape[-2:]
        return values[..., self.top : height - self.bottom, self.left : width - self.right]


def _tensor(values: np.ndarray) -> Tensor:
    """Return an array as a tensor, copied if it may not be written to, as those of Ray's object store."""
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))


def fit_of(height: int, width: int, area: int = AREA, *, enlarge: bool = False) -> Fit:
    """Return how frames are brought to about `area` pixels; smaller ones keep their size except if `enlarge`."""
    factor = float(np.sqrt(area / (height * width)))
    resized = (int(height * factor), int(width * factor)) if factor < 1 or enlarge else (height, width)
    down, across = resized[0] % GRID, resized[1] % GRID
    top, left = down // 2, across // 2
    return Fit((height, width), resized, top, down - top, left, across - left)


def invalid_on_grid(valid: Tensor) -> Tensor:
    """Return which pixels of the grid (h / 8, w / 8) are not valid, of a mask (h, w) bool of valid pixels."""
    height, width = valid.shape
    share = F.interpolate(valid[None, None].float(), (height // GRID, width // GRID), mode="bilinear")[0, 0]
    return ~(share > _VALID)


def disparity_on_grid(depth: Tensor) -> Tensor:
    """Return the disparity (h / 8, w / 8) of a depth map (h, w), 0 where it is unknown."""
    sampled = depth[_SAMPLE::GRID, _SAMPLE::GRID]
    return torch.where(sampled > 0, sampled.reciprocal(), torch.zeros_like(sampled))
