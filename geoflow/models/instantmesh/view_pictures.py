"""The picture that holds six views, taken apart."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geoflow.errors import InputError

ROWS, COLUMNS = 3, 2
SIZE = 320  # px of a view


def split_views(picture: np.ndarray, size: int = SIZE) -> Tensor:
    """Return the views (6, 3, size, size) float32 in 0..1 of a picture (3 H, 2 W, 3) uint8, row by row."""
    height, width = picture.shape[:2]
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or height % ROWS or width % COLUMNS:
        raise InputError(f"a picture of six views should be (3 H, 2 W, 3) uint8, found {picture.shape} {picture.dtype}")
    tiles = torch.from_numpy(np.ascontiguousarray(picture)).float().div(255)
    tiles = tiles.unflatten(1, (COLUMNS, -1)).unflatten(0, (ROWS, -1))  # (3, H, 2, W, 3)
    return resize_views(tiles.permute(0, 2, 4, 1, 3).flatten(0, 1), size)


def resize_views(views: Tensor, size: int = SIZE) -> Tensor:
    """Return views (N, 3, H, W) in another size, bicubic and antialiased, cut to 0..1."""
    if views.shape[-2:] != (size, size):
        views = F.interpolate(views, (size, size), mode="bicubic", align_corners=False, antialias=True)
    return views.clamp(0, 1)
