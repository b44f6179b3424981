"""Frames and prompts as the network takes them. transformers' own processors do the same, and need torchvision."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for RGB in 0..1
_TOP_LEFT, _BOTTOM_RIGHT = 2, 3  # what a box's corners are called among the labels of points


def frame_pixels(rgb: np.ndarray, size: int, device: str | torch.device) -> torch.Tensor:
    """Return a frame (H, W, 3) uint8 as (3, size, size) float32; its aspect is not kept, as in training."""
    picture = torch.from_numpy(np.ascontiguousarray(rgb)).to(device).permute(2, 0, 1)[None].float()
    return normalised(functional.interpolate(picture, (size, size), mode="bilinear", antialias=True))[0]


def normalised(pictures: torch.Tensor) -> torch.Tensor:
    """Return RGB pictures (N, 3, h, w) in 0..255 with the mean and deviation of ImageNet taken out."""
    mean, deviation = (torch.tensor(row, device=pictures.device)[:, None, None] for row in (_MEAN, _DEVIATION))
    return (pictures / 255 - mean) / deviation


def prompt_points(
    box: tuple[float, float, float, float] | None,
    points: tuple[tuple[float, float, bool], ...],
    height: int,
    width: int,
    size: int,
) -> dict[str, torch.Tensor]:
    """Return a box and points, in pixels of a frame, as `point_coords` (1, 1, N, 2) float32 in pixels of the network's
    input and `point_labels` (1, 1, N) int32. A box is two points before all others."""
    corners = [] if box is None else [(*box[:2], _TOP_LEFT), (*box[2:], _BOTTOM_RIGHT)]
    rows = [*corners, *((x, y, int(on)) for x, y, on in points)]
    scale = np.array([size / width, size / height])
    coords = np.array([row[:2] for row in rows]) * scale
    return {
        "point_coords": torch.from_numpy(coords.astype(np.float32))[None, None],
        "point_labels": torch.tensor([row[2] for row in rows], dtype=torch.int32)[None, None],
    }


def prompt_mask(mask: np.ndarray, size: int, device: str | torch.device) -> torch.Tensor:
    """Return a mask (H, W) bool as (1, 1, size, size) float32 of 0 and 1. A mask that shows something is never empty:
    where an object is too small for that, all it touches is of it."""
    given = torch.from_numpy(np.ascontiguousarray(mask)).to(device)[None, None].float()
    resized = functional.interpolate(given, (size, size), mode="bilinear", align_corners=False, antialias=True)
    least = 0.5 if bool((resized >= 0.5).any()) else torch.finfo(torch.float32).tiny
    return (resized >= least).float()
